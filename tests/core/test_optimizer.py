"""Adam: both ways of taking a step, and the guard against outlying batches."""

import torch

from skvae.core.optimizer import Adam

CPU = torch.device("cpu")


def gradients(n_steps=20):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n_steps, 7, generator=generator)


def test_fused_and_plain_steps_agree_with_torch():
    weights, plain, theirs = torch.zeros(7), torch.zeros(7), torch.zeros(7)
    fused_adam, plain_adam = Adam((7,), CPU), Adam((7,), CPU)
    reference = torch.optim.Adam([theirs.requires_grad_()], lr=0.01)
    for gradient in gradients():
        fused_adam.step(weights, gradient.clone(), 0.01)
        # A gradient that is not shortened: the plain step is called as it is.
        shortened = gradient.clone()
        plain_adam._shorten(shortened)
        theirs.grad = shortened.clone()
        plain_adam.n_steps += 1
        plain_adam._plain_step(plain, shortened, 0.01)
        reference.step()
    torch.testing.assert_close(weights, plain)
    torch.testing.assert_close(weights, theirs.detach())
    torch.testing.assert_close(fused_adam.moments, plain_adam.moments)


def test_going_on_from_moments_is_going_on():
    whole, first, second = torch.zeros(7), torch.zeros(7), None
    adam, before = Adam((7,), CPU), Adam((7,), CPU)
    for gradient in gradients():
        adam.step(whole, gradient.clone(), 0.01)
    for gradient in gradients()[:10]:
        before.step(first, gradient.clone(), 0.01)
    after = Adam((7,), CPU, before.moments, before.n_steps, float(before.length))
    second = first.clone()
    for gradient in gradients()[10:]:
        after.step(second, gradient.clone(), 0.01)
    torch.testing.assert_close(second, whole)


def test_an_outlying_gradient_is_shortened():
    adam = Adam((7,), CPU)
    ordinary = torch.ones(7)
    for _ in range(5):
        adam.step(torch.zeros(7), ordinary.clone(), 0.01)
    outlying = 1000 * ordinary
    adam.step(torch.zeros(7), outlying, 0.01)
    torch.testing.assert_close(outlying, 2 * ordinary)


def test_a_gradient_of_zeros_does_not_stop_the_next():
    adam = Adam((7,), CPU)
    adam.step(torch.zeros(7), torch.zeros(7), 0.01)
    gradient = torch.ones(7)
    adam.step(torch.zeros(7), gradient, 0.01)
    torch.testing.assert_close(gradient, torch.ones(7))
