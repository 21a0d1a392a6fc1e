"""Somebody else's code. Importing this registers every task on every robot with Gymnasium: see :mod:`.registration`."""

from locomotion.adapters.registration import register

register()
