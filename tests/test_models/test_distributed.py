"""Two processes must compute what one process computes on twice the batch."""

import pytest
import ranks
import torch

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    'case', ['all', 'without matching', 'a teacher', 'in chunks', 'fused']
)
def test_two_ranks_equal_one_with_twice_the_batch(case, tmp_path):
    out = str(tmp_path / 'grads')
    ranks.run_two_ranks(ranks.loss_worker, case, out)
    grads, losses = torch.load(f'{out}.0')
    whole = ranks.make_model(case)
    whole.grad_cache = None
    expected_grads, expected = ranks.grads_and_losses(whole, ranks.make_batch(case))
    assert losses.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(losses[name], expected[name], atol=1e-5, rtol=1e-5)
    used = {n: g for n, g in expected_grads.items() if g is not None}
    assert sum(g.abs().max() > 1e-3 for g in used.values()) > 20
    for name, grad in used.items():
        torch.testing.assert_close(grads[name], grad, atol=1e-5, rtol=1e-5)


def test_gathers_and_global_mean(tmp_path):
    out = str(tmp_path / 'layers')
    ranks.run_two_ranks(ranks.layers_worker, out)
    (padded, mean0, grad0, matrix0), (_, mean1, grad1, matrix1) = (
        torch.load(f'{out}.{rank}') for rank in range(2)
    )
    assert padded.tolist() == [[1, 1, 9], [1, 1, 9], [2, 2, 2], [2, 2, 2]]
    # counted: 1 and 2 on rank 0, 2 on rank 1; DDP averages the ranks' values
    assert ((mean0 + mean1) / 2).item() == pytest.approx(5 / 3)
    # both ranks weigh rank 0 with 1 and rank 1 with 10
    assert (grad0.item(), grad1.item()) == (2.0, 20.0)
    expected = 3 * torch.arange(12.0).view(3, 4).t()
    torch.testing.assert_close(torch.cat([matrix0, matrix1]), expected)
