"""The fitted body moved to where the depth network says that the person is."""

from __future__ import annotations

from collections.abc import Callable

from ..body.fit import BodyFit, BodyFitter
from ..estimate.depth import DepthEstimator, SideDepths, posed
from ..photo import PreparedPhoto
from .deform import meet_depths


def mend_fit(
    estimator: DepthEstimator,
    fitter: BodyFitter,
    fit: BodyFit,
    photo: PreparedPhoto,
    size: int,
    check: Callable[[], None] = lambda: None,
) -> tuple[BodyFit, SideDepths]:
    """The mended fit, and the depths in its camera space.

    Args:
        estimator: of depths, for the fitter's body.
        fitter: of the body.
        fit, photo, size: as for :meth:`~backend.estimate.depth.DepthEstimator.estimate`.
        check: called between the steps; may raise to stop.
    """
    body = estimator.body
    depths = estimator.estimate(fit, photo, size)
    check()
    vertices = posed(body, fit)[0].numpy()
    focal = fit.focal * size / photo.rgb.shape[0]
    moved = meet_depths(vertices, body.faces.numpy(), focal, depths, device=estimator.device)
    mended = fitter.meet(fit, photo, moved, check)
    # Which of two sizes at two distances it is, no photo tells: the mended fit has chosen anew.
    pelvis = (body.joint_regressor[0].numpy() @ (vertices + moved))[2]
    return mended, depths.scaled(float(posed(body, mended)[1][0, 2]) / pelvis)
