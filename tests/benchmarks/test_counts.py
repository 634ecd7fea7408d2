"""The table of count models: what is held out to choose by, how a rule stands in a scenario, and what is claimed."""

from __future__ import annotations

import torch

from benchmarks.text.counts import GRIDS, RULES, Split, chosen, claims, keys_of
from fedlt.config import catalog


def test_a_fifth_of_each_class_is_held_out_and_rare_classes_stay_whole() -> None:
    y = torch.tensor([0] * 10 + [1] * 4 + [2] * 6)
    part = Split(torch.arange(20)[:, None], y, torch.zeros(1, 1), y[:1], 20).held_out()
    assert part.y_test.bincount().tolist() == [2, 0, 1]
    assert sorted([*part.x.flatten().tolist(), *part.x_test.flatten().tolist()]) == list(range(20))


def test_the_smoothing_that_finds_the_rare_class_is_chosen() -> None:
    """The rare class's word is one of a hundred, beside a common one that all texts have many times."""
    common = torch.zeros(60, 6, dtype=torch.int64)
    y = (torch.arange(60) % 6 == 0).long()
    common[:, 0] = 1 + y
    split = Split(common, y, common, y, 1000)
    assert chosen(GRIDS["multinomial chosen"], split) != RULES["multinomial"]


def test_a_rule_is_made_anew_from_what_the_scenario_says() -> None:
    for rule in (*RULES.values(), *(each[-1] for each in GRIDS.values())):
        keys = keys_of(rule)
        assert catalog.find("model", keys.pop("name")).load()(**keys) == rule


def test_claims_fail_where_the_tables_say_otherwise() -> None:
    same = {"federated_is_central": "true"}
    rows = [
        {"corpus": "trec50", "model": "ss3", "tail": "0.500", **same},
        {"corpus": "trec50", "model": "multinomial", "tail": "0.000", **same},
    ]
    early = [
        {"corpus": "grain", "model": "ss3"}
        | {f"erde_{late}_{way}": "0.2" for late in (5, 50) for way in ("early", "all")}
    ]
    assert [holds for _, holds in claims(rows, early)] == [True, True, False, False]
    rows[1] |= {"tail": "0.001", "federated_is_central": "false"}
    early[0] |= {"erde_5_early": "0.1"}
    assert [holds for _, holds in claims(rows, early)] == [False, False, True, False]
