"""Prompt vectors drawn from learned distributions: a Gaussian whose samples go through planar flows (Bayes-PFL).

Axes: S rows that ask (images, or one for all images), R draws of each, K steps of a flow, W width of what is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zsad_bench.backbones.weights import unset

EPSILON = 1e-5  # in the logarithm of each step's determinant


@dataclass(frozen=True)
class Drawn:
    """Vectors drawn from a distribution, and what their densities need.

    mean, variance: (S,W) of the Gaussian; its standard deviation is the root of `variance`. start: (S,R,W), drawn from
    it. end: (S,R,W), behind the flow. log_det: (S,R), the log-determinant of the flow at each start.
    """

    mean: Tensor
    variance: Tensor
    start: Tensor
    end: Tensor
    log_det: Tensor


class Gaussian(nn.Module):
    """Mean and variance, (S,W) each, of what rows (S,inputs) ask for: two networks of three layers with softplus."""

    def __init__(self, inputs: int, hidden: int, width: int) -> None:
        super().__init__()
        self.mean, self.log_variance = (_three_layers(inputs, hidden, width) for _ in range(2))

    def forward(self, rows_SD: Tensor) -> tuple[Tensor, Tensor]:
        """The variance is exp(log_variance / 2), as the released code has it, so that samples spread by its root."""
        return self.mean(rows_SD), (self.log_variance(rows_SD) / 2).exp()


def _three_layers(inputs: int, hidden: int, width: int) -> nn.Sequential:
    first, second, third = (unset(nn.Linear, *sizes) for sizes in ((inputs, hidden), (hidden, hidden), (hidden, width)))
    return nn.Sequential(first, nn.Softplus(), second, nn.Softplus(), third)


class ImageFlow(nn.Module):
    """A flow whose parameters are linear in the row that asks."""

    def __init__(self, inputs: int, steps: int, width: int) -> None:
        super().__init__()
        self.steps = steps
        self.u, self.w = (unset(nn.Linear, inputs, steps * width) for _ in range(2))
        self.b = unset(nn.Linear, inputs, steps)

    def forward(self, rows_SD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """u (S,K,W), w (S,K,W) and b (S,K)."""
        u, w = (part(rows_SD).unflatten(-1, (self.steps, -1)) for part in (self.u, self.w))
        return u, w, self.b(rows_SD)


class StateFlow(nn.Module):
    """A flow of its own for each state: free parameters, and the row (1,W) that asks for its Gaussian."""

    def __init__(self, steps: int, width: int, generator: torch.Generator) -> None:
        super().__init__()

        def drawn(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=generator))

        self.u, self.w, self.b = drawn(1, steps, width), drawn(1, steps, width), drawn(1, steps)
        self.state = drawn(1, width)

    def forward(self) -> tuple[Tensor, Tensor, Tensor]:
        """u (1,K,W), w (1,K,W) and b (1,K)."""
        return self.u, self.w, self.b


def draw(moments: tuple[Tensor, Tensor], flow: tuple[Tensor, Tensor, Tensor], noise_SRW: Tensor) -> Drawn:
    """What standard normal noise becomes under a Gaussian and a planar flow.

    moments: mean and variance, (S,W). flow: u, w (S,K,W) and b (S,K). S of each may be 1, for all rows of the noise.
    """
    mean, variance = moments
    start = mean[:, None] + variance.sqrt()[:, None] * noise_SRW
    end, log_det = start, start.new_zeros(start.shape[:-1])
    for u, w, b in zip(*(part.unbind(1) for part in flow), strict=True):
        tanh = ((end * w[:, None]).sum(-1) + b[:, None]).tanh()
        slope = (1 - tanh.square()) * (u * w).sum(-1)[:, None]
        log_det = log_det + ((1 + slope).abs() + EPSILON).log()
        end = end + u[:, None] * tanh[..., None]
    return Drawn(mean, variance, start, end, log_det)


def divergence(drawn: Drawn, log_det_rows: int) -> Tensor:
    """Estimated divergence of what was drawn from a standard normal distribution; a scalar.

    Mean over rows of log q(start) - log p(end), minus the sum of the log-determinants over `log_det_rows`, which is the
    number of rows where nothing slips. Both log densities are without their constant. One draw of each row counts.
    """
    start, end = drawn.start[:, 0], drawn.end[:, 0]
    log_q = -0.5 * (drawn.variance.log() + (start - drawn.mean).square() / drawn.variance).sum(-1)
    log_p = -0.5 * end.square().sum(-1)
    return (log_q - log_p).mean() - drawn.log_det[:, 0].sum() / log_det_rows
