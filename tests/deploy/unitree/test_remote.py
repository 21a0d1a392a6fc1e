import struct

import pytest

from deploy.unitree.remote import Remote
from robots import InputError


def test_the_forty_bytes_hold_buttons_as_bits_and_sticks_as_floats():
    data = bytearray(40)
    data[2:4] = struct.pack("<H", 1 << 5 | 1 << 9)
    data[4:16] = struct.pack("<3f", 0.1, 0.2, 0.3)
    data[20:24] = struct.pack("<f", 0.4)
    remote = Remote.from_bytes(bytes(data))
    assert remote.buttons == {"L2", "B"}
    assert (remote.lx, remote.rx, remote.ry, remote.ly) == pytest.approx((0.1, 0.2, 0.3, 0.4))
    assert remote.to_bytes() == bytes(data)


def test_the_bits_are_in_the_vendor_s_order():
    order = ["R1", "L1", "start", "select", "R2", "L2", "F1", "F2", "A", "B", "X", "Y", "up", "right", "down", "left"]
    for bit, button in enumerate(order):
        data = Remote(frozenset([button])).to_bytes()
        assert data[2:4] == struct.pack("<H", 1 << bit)
        assert Remote.from_bytes(data).buttons == {button}


def test_the_left_stick_walks_and_the_right_one_turns():
    assert Remote(ly=0.5).walk == (0.5, 0.0, 0.0)
    assert Remote(lx=0.5).walk == (0.0, -0.5, 0.0)  # pushed to the right: left is negative
    assert Remote(rx=0.5).walk == (0.0, 0.0, -0.5)


def test_words_press_it():
    assert Remote.parse(["L2+B", "ly=0.5"]) == Remote(frozenset(["L2", "B"]), ly=0.5)
    assert Remote.parse([]) == Remote()


@pytest.mark.parametrize("word", ["L9", "L2+", "ly=much", "ly=2", "lz=0.1", "ly=nan"])
def test_other_words_are_refused(word):
    with pytest.raises(InputError, match="remote"):
        Remote.parse([word])
