"""Of students that cost the same, the one that agrees most as it starts."""

import math

import pytest
import torch
from basicsr.archs import build_network

from tests.recipe.teachers import EDSR, VDSR, inspected
from vsrkd_plugin.inspection.recognising import Candidate
from vsrkd_plugin.inspection.teacher import Inspection, _complete, _measured
from vsrkd_plugin.recipe import choosing
from vsrkd_plugin.recipe.choosing import agreement_at_start, best_start, in_words
from vsrkd_plugin.recipe.limits import Operations
from vsrkd_plugin.recipe.students import Proposal, candidates, own_student


def _redundant(rank: int = 6) -> Inspection:
    """A VDSR of 16 channels, all of which count, whose layers are nearly of a low rank."""
    options = {**VDSR, 'num_block': 2}
    torch.manual_seed(0)
    network = build_network({**options, 'rank': rank}).eval()
    whole = build_network(dict(options)).eval()
    state = whole.state_dict()
    merged = {name: layer.weight for name, layer in network.named_modules() if hasattr(layer, 'rank')}
    for name, value in network.state_dict().items():
        if name in state:
            state[name] = value
    for name, weight in merged.items():
        state[f'{name}.weight'] = weight.detach() + 1e-3 * torch.randn_like(weight)
    whole.load_state_dict(state)
    return _complete(_measured('teacher.pth', Candidate(options, state), {}, False))


def test_rank_is_kept_where_it_is_rank_that_the_teacher_lacks() -> None:
    found, limit = _redundant(), Operations(2)
    first, *others = candidates(found, None, limit)
    told: list[str] = []
    best = best_start(found, [first, *others], 0, told.append)
    assert best in others and 'rank' in in_words(best)
    assert len(told) == 1 + len(others) and all('dB of agreement' in line for line in told)
    agreements = [agreement_at_start(found, proposal) for proposal in (first, best)]
    assert agreements[1] > agreements[0] + 1


def test_it_is_judged_by_what_it_was_not_fitted_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """The teacher's own network starts as the teacher: all the same where that is seen."""
    found = inspected(VDSR)
    same = own_student(found, VDSR)
    assert same.starts_from_teacher
    exact = agreement_at_start(found, same)
    assert exact > 45
    monkeypatch.setattr(choosing, '_IMAGES', (3, 24))  # too few to fit anything by
    assert agreement_at_start(found, own_student(found, {**VDSR, 'num_feat': 8})) < exact - 15


def test_time_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    found = inspected(EDSR)
    proposals = [own_student(found, {**EDSR, 'num_feat': feat}) for feat in (8, 12, 16)]
    seen: list[Proposal] = []

    def agreement(found: Inspection, proposal: Proposal, seed: int) -> float:
        seen.append(proposal)
        return float(proposal.options['num_feat'])

    monkeypatch.setattr(choosing, 'agreement_at_start', agreement)
    assert best_start(found, iter(proposals)).options['num_feat'] == 16
    seen.clear()
    assert best_start(found, iter(proposals), go_on=lambda: len(seen) < 2).options['num_feat'] == 12
    with pytest.raises(ValueError, match='no proposals'):
        best_start(found, [])
    monkeypatch.setattr(choosing, 'agreement_at_start', lambda *_: math.nan)
    assert best_start(found, proposals) is proposals[0]
    finite = iter([math.nan, 3.0, math.inf])
    monkeypatch.setattr(choosing, 'agreement_at_start', lambda *_: next(finite))
    assert best_start(found, proposals) is proposals[1], 'what is no number is no agreement'
