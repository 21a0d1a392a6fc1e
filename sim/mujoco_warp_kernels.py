"""What MuJoCo Warp leaves out, as kernels of our own. Imported where Warp is installed."""

import warp as wp

CAPSULE = wp.constant(3)  # mjGEOM_CAPSULE


@wp.kernel(enable_backward=False)
def watch(
    largest: float,
    hardest: float,
    qpos: wp.array2d[float],
    qvel: wp.array2d[float],
    qacc: wp.array2d[float],
    faults: wp.array[bool],
):
    """After a physics step: a fault where a position or velocity (``largest``) or acceleration (``hardest``) is no number, or beyond."""
    world = wp.tid()
    for i in range(qpos.shape[1]):
        if not wp.abs(qpos[world, i]) < largest:  # what is no number is not less, either
            faults[world] = True
    for i in range(qvel.shape[1]):
        if not (wp.abs(qvel[world, i]) < largest and wp.abs(qacc[world, i]) < hardest):
            faults[world] = True


@wp.kernel(enable_backward=False)
def align_capsules(
    ground: int,
    geom_type: wp.array[int],
    geom_xmat: wp.array2d[wp.mat33],
    contacts: wp.array[int],
    worlds: wp.array[int],
    geoms: wp.array[wp.vec2i],
    frames: wp.array[wp.mat33],
):
    """The friction pyramid of a capsule on the ground lies along the capsule, as in C MuJoCo, however steep the capsule stands.

    Warp's own does so only up to 60 degrees.
    """
    i = wp.tid()
    if i >= contacts[0]:
        return
    pair = geoms[i]
    if pair[0] != ground or geom_type[pair[1]] != CAPSULE:
        return
    rotation, frame = geom_xmat[worlds[i], pair[1]], frames[i]
    axis, normal = wp.vec3(rotation[0, 2], rotation[1, 2], rotation[2, 2]), wp.vec3(frame[0, 0], frame[0, 1], frame[0, 2])
    along = axis - normal * wp.dot(normal, axis)
    if wp.length(along) < 1.0e-6:
        return
    along = wp.normalize(along)
    across = wp.cross(normal, along)
    frames[i] = wp.mat33(
        normal[0], normal[1], normal[2], along[0], along[1], along[2], across[0], across[1], across[2]
    )  # fmt: skip
