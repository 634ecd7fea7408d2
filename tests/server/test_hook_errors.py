"""One small strategy or learner for each way to get a hook wrong, and the sentence that tells of it: with side, round,
hook, the user's own line and the remedy, the same in this process, in forked workers and in Ray's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fedlt
from fedlt.callback import Callback
from fedlt.cohorts.clock import Clock
from fedlt.cohorts.selection import Selection
from fedlt.config.hook_names import hooks_of
from fedlt.config.own_lines import HOOKS
from fedlt.errors import ClientError, CodeError, FedLTError, ScenarioError
from fedlt.learner import Learner
from fedlt.strategy import Strategy

pytestmark = pytest.mark.slow

SERVER = "the server failed in round 1: "
CLIENT = "client 0 failed in round 1: "
GENERIC = "the generic model cannot be tested after round 1: "

AT_SERVER = {
    # It leaves no model.
    "aggregate(self, server, updates): pass": "Mine.aggregate left the model as it was; assign the next one, as in "
    "server.weights = combine(updates).mean (server.weights = server.weights if it is to stay)",
    "aggregate(self, server, updates): return combine(updates).mean": "Mine.aggregate gave a tensor of shape [1210] "
    "(float32) and left the model as it was; write server.weights = ... in place of return",
    "aggregate(self, server, updates): server.state['m'] = combine(updates).mean": "Mine.aggregate left the model as "
    "it was; assign the next one, as in server.weights = combine(updates).mean (server.weights = server.weights if it "
    "is to stay)",
    # What it leaves is no model.
    "aggregate(self, server, updates): server.weights = None": "server.weights was given None; assign the whole "
    "vector, [1210] (in Mine.aggregate; mine.py, line 13: server.weights = None)",
    "aggregate(self, server, updates): server.weights = {}": "server.weights was given a dict; assign the whole "
    "vector, [1210] (in Mine.aggregate; mine.py, line 13: server.weights = {})",
    "aggregate(self, server, updates): server.weights = combine(updates).mean[:9]": "server.weights was given a tensor "
    "of shape [9] (float32); assign the whole vector, [1210] (in Mine.aggregate; mine.py, line 13: server.weights = "
    "combine(updates).mean[:9])",
    "aggregate(self, server, updates): server.weights = combine(updates).mean.mean()": "server.weights was given a "
    "tensor of shape [] (float32); assign the whole vector, [1210] (in Mine.aggregate; mine.py, line 13: "
    "server.weights = combine(updates).mean.mean())",
    "aggregate(self, server, updates): server.weights = combine(updates).mean.long()": "server.weights was given a "
    "tensor of shape [1210] (int64); assign real floats (in Mine.aggregate; mine.py, line 13: server.weights = "
    "combine(updates).mean.long())",
    "aggregate(self, server, updates): server.weights = combine(updates).mean / 0": "Mine.aggregate gave 1210 of 1210 "
    "weights that are not finite, of updates that are; look for a division by 0, or a large step",
    # What it keeps is no tensor; it raises.
    "aggregate(self, server, updates): server.state['rounds'] = 1": "server.state['rounds'] is an int; keep "
    "torch.tensor(...) of it",
    "aggregate(self, server, updates): server.state['m'] += 1": "KeyError: 'm' (in Mine.aggregate; mine.py, line 13: "
    "server.state['m'] += 1)",
}
AT_CLIENT = {
    # loss
    "loss(self, client, batch): return cross_entropy(client.model(batch.x), batch.y, reduction='none')": "Mine.loss "
    "gave a tensor of shape [16] (float32); return one number, such as its mean()",
    "loss(self, client, batch): return super().loss(client, batch).detach()": "Mine.loss gave a number that no "
    "gradient leads back from to a trained parameter; return it without detach(), item() or no_grad(), as a function "
    "of client.model(batch.x)",
    "loss(self, client, batch): return super().loss(client, batch).item()": "Mine.loss gave a float; return a tensor "
    "of one number",
    "loss(self, client, batch): super().loss(client, batch)": "Mine.loss gave None; return a tensor of one number",
    # What is kept or sent.
    "fit(self, client): client.extras['x'] = 1.0": "client.extras['x'] is a float; keep torch.tensor(...) of it",
    "fit(self, client): client.values['x'] = [1.0]": "client.values['x'] is a list; keep torch.tensor(...) of it",
    "fit(self, client): client.state['x'] = self": "client.state['x'] is a Mine; keep tensors only",
    "begin(self, client): client.state['x'] = 2": "client.state['x'] is an int; keep torch.tensor(...) of it",
    "fit(self, client): client.vector = client.start[:3]": "client.vector was given a tensor of shape [3] (float32); "
    "assign the whole vector, [1210] (in Mine.fit; mine.py, line 13: client.vector = client.start[:3])",
    "weight(self, client): pass": "Mine.weight gave None; return a number of at least 0, such as client.num_samples",
    "weight(self, client): return client.class_counts": "Mine.weight gave a tensor of shape [10] (int64); return a "
    "number of at least 0, such as client.num_samples",
    "weight(self, client): return -1": "Mine.weight gave -1.0; return a finite number of at least 0",
    # The personal model.
    "personal(self, client, x): pass": "Mine.personal gave None; return logits [{n}, 10]",
    "personal(self, client, x): return client.model(x).argmax(1)": "Mine.personal gave classes, a tensor of shape "
    "[{n}] (int64); return logits [{n}, 10], without argmax()",
    "personal(self, client, x): return {'a': client.model(x), 'b': client.model(x)[:, :5]}": "Mine.personal gave a "
    "tensor of shape [{n}, 5] (float32) for the variant 'b'; return logits [{n}, 10]",
    # It raises: the innermost line of the user's is shown, and the hook that it was called from.
    "loss(self, client, batch): return helper(client)": "AttributeError: 'Client' object has no attribute 'foo' (in "
    "Mine.loss; mine.py, line 16: return client.foo)",
    "fit(self, client): client.train(lambda site, batch: 1 / 0)": "ZeroDivisionError: division by zero (in Mine.fit; "
    "mine.py, line 13: client.train(lambda site, batch: 1 / 0))",
    "fit(self, client): self.seen = 1": "FrozenInstanceError: cannot assign to field 'seen'; strategies and learners "
    "are frozen: keep tensors in client.state or server.state (in Mine.fit; mine.py, line 13: self.seen = 1)",
    "adapt(self, client): client.train(self.loss, only=('fc.*',))": "ValueError: no trainable parameter matches "
    "(('fc.*',), ('*',)); there are: backbone.1.weight, backbone.1.bias, head.weight, head.bias (in Mine.adapt; "
    "mine.py, line 13: client.train(self.loss, only=('fc.*',)))",
}
OF_GENERIC = {
    "generic(self, server, x): return server.model(x).argmax(1)": "Mine.generic gave classes, a tensor of shape [256] "
    "(int64); return logits [256, 10], without argmax()",
    "generic(self, server, x): server.model(x)": "Mine.generic gave None; return logits [256, 10]",
    "generic(self, server, x): return server.model(x)[:, :5]": "Mine.generic gave a tensor of shape [256, 5] "
    "(float32); return logits [256, 10]",
    "generic(self, server, x): return {}": "Mine.generic gave no variant; return logits [B, C], or some by name",
    "generic(self, server, x): return server.modle(x)": "AttributeError: 'Server' object has no attribute 'modle' (in "
    "Mine.generic; mine.py, line 13: return server.modle(x))",
}
IN_RUNS = (
    [(hook, SERVER + told, CodeError) for hook, told in AT_SERVER.items()]
    + [(hook, CLIENT + told, ClientError) for hook, told in AT_CLIENT.items()]
    + [(hook, GENERIC + told, CodeError) for hook, told in OF_GENERIC.items()]
)

BEFORE_WORK = {
    # Names and arguments of hooks.
    "agregate(self, server, updates): pass": "Mine has a method 'agregate', which nobody calls; did you mean "
    "'aggregate'?",
    "on_round_ends(self, server): pass": "Mine has a method 'on_round_ends', which nobody calls; rounds and "
    "evaluations are heard of by a fedlt.Callback, given by --track or callbacks=",
    "loss(self, batch): pass": "Mine.loss takes (self, batch), and is given (self, client, batch); write def "
    "loss(self, client, batch)",
    "aggregate(self, server, updates, round): pass": "Mine.aggregate takes (self, server, updates, round), and is "
    "given (self, server, updates); write def aggregate(self, server, updates)",
    "fit(client): pass": "Mine.fit takes (client), and is given (self, client); write def fit(self, client)",
    # Hooks that run before the first round.
    "setup(self, server): server.state['m'] = 0.0": "Mine.setup failed: server.state['m'] is a float; keep "
    "torch.tensor(...) of it",
    "setup(self, server): server.state['m'] = torch.zeros(server.wieghts)": "Mine.setup failed: AttributeError: "
    "'Server' object has no attribute 'wieghts' (in Mine.setup; mine.py, line 13: server.state['m'] = "
    "torch.zeros(server.wieghts))",
    "build(self, model, task): model.extra = torch.nn.Linear(model.dim, 3)": "Mine.build failed: AttributeError: "
    "'Net' object has no attribute 'dim' (in Mine.build; mine.py, line 13: model.extra = torch.nn.Linear(model.dim, "
    "3))",
    "remarks(self, cohort): pass": "Mine.remarks gave None; return a list of lines, or []",
}

IMPORTS = {
    "Strategy": "from torch.nn.functional import cross_entropy",
    "CrossEntropy": "from fedlt.learners.cross_entropy import CrossEntropy",
    "Metric": "from fedlt import Metric",
}


def written(hook: str, base: str = "Strategy") -> str:
    """A class with one hook, whose body stands in line 13 of the file, and a function that fails in line 16."""
    signature, _, body = hook.partition(": ")
    return (
        f"{IMPORTS[base]}\n@dataclass(frozen=True)\nclass Mine({base}):\n"
        f"    def {signature}:\n        {body}\n\ndef helper(client):\n    return client.foo\n"
    )


@pytest.fixture
def told(tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path) -> Callable[..., FedLTError]:
    """The error of a run with all clients in each round, and the run folders that it left."""

    def run(text: str, *changes: str, kind: type[FedLTError], backend: str = "inline", out: str = "") -> FedLTError:
        path, parent = own_file(text), tmp_path / (out or backend)
        chosen = [change.replace("MINE", f"{path}:Mine") for change in (*changes, "federation.participation=1")]
        with pytest.raises(kind) as caught:
            fedlt.run(tiny, *chosen, out=parent, backend=backend, workers=2)
        folders = list(parent.glob("*"))
        if kind is ScenarioError:
            assert not folders
        else:
            assert [(folder / "run.json").is_file() for folder in folders] == [True]
        return caught.value

    return run


@pytest.mark.parametrize(("hook", "sentence", "kind"), IN_RUNS, ids=[hook for hook, _, _ in IN_RUNS])
def test_a_hook_that_fails_in_a_run_is_told_in_a_sentence(
    told: Callable[..., FedLTError], hook: str, sentence: str, kind: type[FedLTError]
) -> None:
    error = told(written(hook), "strategy=MINE", kind=kind if "not finite" not in sentence else FedLTError)
    size = str(error).partition("logits [")[2].partition(",")[0]
    assert str(error) == sentence.replace("{n}", size)


FEW = [IN_RUNS[0], IN_RUNS[10], IN_RUNS[11], IN_RUNS[-7], IN_RUNS[-1]]


@pytest.mark.grid
@pytest.mark.parametrize(
    ("backend", "hook", "sentence", "kind"),
    [*(("processes", *one) for one in FEW), ("ray", *FEW[0]), ("ray", *FEW[-1])],
)
def test_the_sentence_is_that_of_every_backend(
    told: Callable[..., FedLTError],
    request: pytest.FixtureRequest,
    backend: str,
    hook: str,
    sentence: str,
    kind: type[FedLTError],
) -> None:
    if backend == "ray":
        request.getfixturevalue("ray_workers")
    error = told(written(hook), "strategy=MINE", kind=kind, backend=backend)
    assert str(error) == sentence
    assert isinstance(error, CodeError)
    assert error.remote_traceback.startswith("Traceback")


@pytest.mark.parametrize(("hook", "sentence"), BEFORE_WORK.items(), ids=list(BEFORE_WORK))
def test_a_hook_that_fails_before_any_work_is_a_problem_of_the_scenario(
    told: Callable[..., FedLTError], hook: str, sentence: str
) -> None:
    error = told(written(hook), "strategy=MINE", kind=ScenarioError)
    assert str(error) == f"1 problem\n  strategy: {sentence}"


def test_the_whole_traceback_is_kept_and_the_error_says_where(
    told: Callable[..., FedLTError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = told(written("fit(self, client): client.extras['x'] = helper(client)"), "strategy=MINE", kind=ClientError)
    folder = next((tmp_path / "inline").glob("*"))
    assert error.__notes__ == [f"the whole traceback is in inline/{folder.name}/log.txt"]
    log = (folder / "log.txt").read_text(encoding="utf-8")
    assert "Traceback (most recent call last)" in log
    assert "in helper" in log
    assert "Traceback" not in str(error)


def test_clients_that_send_other_names_or_shapes_are_told_of(told: Callable[..., FedLTError]) -> None:
    error = told(
        written("fit(self, client): client.values |= {'x': torch.ones(1)} if client.id == 1 else {}"),
        "strategy=MINE",
        kind=ClientError,
    )
    told_names = "clients sent different names in client.values: [] and ['x']; let every client set the same ones"
    assert str(error) == f"client 1 failed in round 1: {told_names}"
    text = written("fit(self, client): client.extras['x'] = torch.ones(1 + client.id)")
    error = told(text, "strategy=MINE", "federation.rounds=1", kind=ClientError, out="shapes")
    shapes = "clients sent client.extras['x'] of the shapes [1] and [2]; give it the same shape at every client"
    assert str(error) == f"client 1 failed in round 1: {shapes}"


def test_a_step_may_leave_the_model_as_it_is_where_it_says_so_or_has_given_one_before(
    tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path
) -> None:
    for place, body in enumerate(
        [
            "server.weights = server.weights",
            "server.weights[:] += 1",
            "server.weights = server.weights if server.round > 1 else combine(updates).mean",
            "server.model.head.bias.data.fill_(2.0)",
        ]
    ):
        path = own_file(written(f"aggregate(self, server, updates): {body}"), f"mine{place}.py")
        assert fedlt.run(tiny, f"strategy={path}:Mine", out=tmp_path / "runs").status == "finished"


# Classes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "class Mine(Strategy):\n    mu: float = 0.1\n",
            "mine.py: mu of Mine is no key of a scenario yet; write @dataclass(frozen=True) above class Mine",
        ),
        (
            "class Mine(Strategy):\n    def __init__(self, mu=0.1):\n        self.mu = mu\n",
            "mine.py: Mine is made by an __init__ of its own, whose arguments no scenario can set; write "
            "@dataclass(frozen=True) above class Mine, and its keys as fields: mu: float = 0.1",
        ),
        (
            "@dataclass(frozen=True)\nclass Mine:\n    mu: float = 0.1\n",
            "mine.py:Mine is no subclass of fedlt.Strategy; write class Mine(fedlt.Strategy)",
        ),
        (
            "@dataclass\nclass Mine(Strategy):\n    mu: float = 0.1\n",
            "mine.py cannot be imported: TypeError: cannot inherit non-frozen dataclass from a frozen one (mine.py, "
            "line 9: @dataclass); write @dataclass(frozen=True)",
        ),
        (
            "@dataclass(frozen=True)\nclass Mine(Strategy):\n    weight: float = 0.1\n",
            "Mine.weight is 0.1 and hides the hook weight(client); give the field another name",
        ),
        ("import no_such_module\n", "No module named 'no_such_module' (mine.py, line 9: import no_such_module)"),
    ],
)
def test_a_class_that_is_no_frozen_dataclass_is_refused_with_what_to_write(
    told: Callable[..., FedLTError], text: str, sentence: str
) -> None:
    text += "" if "class Mine" in text else "@dataclass(frozen=True)\nclass Mine(Strategy):\n    mu: float = 0.1\n"
    assert str(told(text, "strategy=MINE", kind=ScenarioError)).endswith(sentence)


def test_a_field_without_a_type_is_no_key(told: Callable[..., FedLTError]) -> None:
    text = "@dataclass(frozen=True)\nclass Mine(Strategy):\n    mu = 0.1\n"
    error = told(text, "strategy=MINE", "strategy.mu=0.2", kind=ScenarioError)
    assert "it is assigned there without a type: write mu: float = ..., or the type that it has" in str(error)


def test_helpers_spelt_like_hooks_are_left_alone_where_somebody_calls_them(
    tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path
) -> None:
    helper = "\n    def losses(self, client, batch):\n        return super().loss(client, batch)\n"
    text = written("loss(self, client, batch): return self.losses(client, batch)").replace("\n\n", helper, 1)
    run = fedlt.run(tiny, f"strategy={own_file(text)}:Mine", out=tmp_path / "runs")
    assert run.status == "finished"


def test_the_names_of_hooks_are_those_of_the_contracts() -> None:
    contracts = (Strategy, Learner, Callback, Selection, Clock)
    assert {name for contract in contracts for name in hooks_of(contract)} == HOOKS


# Learners -------------------------------------------------------------------------------------------------------------

OF_LEARNERS = {
    "loss(self, site, batch): return site.model(batch.x)": CLIENT + "Mine.loss gave a tensor of shape [16, 10] "
    "(float32); return one number, such as its mean()",
    "gradient(self, site, loss, batch): loss(batch).backward()": CLIENT + "Mine.gradient gave None; return the loss "
    "of the batch",
    "sampler(self, site, stage): return site.rng.random(site.num_samples)": CLIENT + "Mine.sampler gave an array of "
    "shape [{n}] (float64); return an array of whole numbers in 0..{last}, as site.rng.permutation(site.num_samples) "
    "is",
    "sampler(self, site, stage): return [0, 999]": CLIENT + "Mine.sampler gave positions from 0 to 999; there are "
    "0..{last}",
    "begin(self, site): site.state['m'] = site.model.no_such": CLIENT + "AttributeError: 'Net' object has no "
    "attribute 'no_such' (in Mine.begin; mine.py, line 13: site.state['m'] = site.model.no_such)",
    "predict(self, model, x): return model(x).argmax(1)": CLIENT + "Mine.predict gave classes, a tensor of shape "
    "[{n}] (int64); return logits [{n}, 10], without argmax()",
}
LEARNERS_BEFORE_WORK = {
    "stages(self): return ('first', 'second')": "Mine.stages gave a tuple; return a tuple of fedlt.Stage, as in "
    "(Stage(),)",
    "los(self, site, batch): pass": "Mine has a method 'los', which nobody calls; did you mean 'loss'?",
    "predict(self, x): pass": "Mine.predict takes (self, x), and is given (self, model, x); write def predict(self, "
    "model, x)",
}


@pytest.mark.parametrize(("hook", "sentence"), OF_LEARNERS.items(), ids=list(OF_LEARNERS))
def test_hooks_of_learners_are_told_of_in_the_same_way(
    told: Callable[..., FedLTError], hook: str, sentence: str
) -> None:
    changes = ["strategy=local"] if "predict" in hook else []
    error = str(told(written(hook, "CrossEntropy"), "learner=MINE", *changes, kind=ClientError))
    for opening, name in (("logits [", "n"), ("of shape [", "n"), ("0..", "last")):
        number = error.rpartition(opening)[2].partition(",")[0].partition("]")[0]
        sentence = sentence.replace("{" + name + "}", number) if opening in error else sentence
    assert error == sentence


def test_the_site_of_all_data_is_no_client(told: Callable[..., FedLTError]) -> None:
    text = written("loss(self, site, batch): return 1 / 0", "CrossEntropy")
    error = told(text, "learner=MINE", "strategy=centralized", kind=ClientError)
    assert str(error).startswith("the site failed in round 1: ZeroDivisionError: division by zero (in Mine.loss; ")


@pytest.mark.parametrize(("hook", "sentence"), LEARNERS_BEFORE_WORK.items(), ids=list(LEARNERS_BEFORE_WORK))
def test_hooks_of_learners_are_looked_at_before_any_work(
    told: Callable[..., FedLTError], hook: str, sentence: str
) -> None:
    assert (
        str(told(written(hook, "CrossEntropy"), "learner=MINE", kind=ScenarioError))
        == f"1 problem\n  learner: {sentence}"
    )


# Metrics and models ---------------------------------------------------------------------------------------------------

METRICS = {
    "sums(self, logits, y): return {}": "Mine.sums takes (self, logits, y), and is given (self, logits, y, task); "
    "write def sums(self, logits, y, task)",
    "sums(self, logits, y, task): return logits.sum()": "Mine failed on made-up logits: sums() gives a tensor of shape "
    "[] (float32); return numbers by name, as in {'right': ...}; mend it",
    "sums(self, logits, y, task): return {'n': logits.nope}": "Mine failed on made-up logits: AttributeError: 'Tensor' "
    "object has no attribute 'nope' (in Mine.sums; mine.py, line 13: return {'n': logits.nope}); mend it",
}


@pytest.mark.parametrize(("hook", "sentence"), METRICS.items(), ids=list(METRICS))
def test_methods_of_metrics_are_told_of_before_any_work(
    told: Callable[..., FedLTError], hook: str, sentence: str
) -> None:
    figures = "\n\n    def figures(self, sums):\n        return {'n': 1.0}\n\ndef helper"
    text = written(hook, "Metric").replace("\n\ndef helper", figures)
    error = told(text, "evaluation.metrics=[MINE]", kind=ScenarioError)
    assert str(error) == f"1 problem\n  evaluation.metrics.0: {sentence}"


def test_a_model_that_fails_is_told_with_its_line(told: Callable[..., FedLTError]) -> None:
    text = (
        "class Mine(torch.nn.Module):\n    def __init__(self, num_classes):\n        super().__init__()\n"
        "        self.fc = torch.nn.Linear(64, num_classes)\n\n    def forward(self, x):\n        return self.fd(x)\n"
    )
    error = told(text, "model=MINE", kind=ScenarioError)
    assert "'Mine' object has no attribute 'fd' (in Mine.forward; mine.py, line 15: return self.fd(x))" in str(error)
