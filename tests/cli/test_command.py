"""Options dataclasses as commands: declared once, read by the command line, the Python call and the report."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer
from typer.testing import CliRunner

import trbert_deploy
from trbert_deploy.bench.options import BenchOptions
from trbert_deploy.bundle import open_bundle
from trbert_deploy.cli.app import VERBS
from trbert_deploy.cli.command import Only, command
from trbert_deploy.cli.option_fields import Choices, first_sentence
from trbert_deploy.cli.options import installed_choices
from trbert_deploy.cli.predict import PredictOptions
from trbert_deploy.core.attributes import attribute_docs
from trbert_deploy.core.errors import InputError
from trbert_deploy.core.flags import flag, flag_of, require_in_range
from trbert_deploy.runtimes.options import LoadOptions
from trbert_deploy.runtimes.tensorrt.options import BuildOptions
from trbert_deploy.training.arguments import TrainingArguments

OWNERS = (LoadOptions, BenchOptions, PredictOptions, BuildOptions, TrainingArguments)
REQUIRED = {
    "train": ["model", "--data", "d", "--out", "o"],
    "export": ["model", "--out", "o"],
    "bench": [],
    "env": [],
}


@dataclass(frozen=True)
class Options:
    """What a dish is made of.

    Attributes:
        salty: with salt. Not too much.
        warm: heat it up [or not].
        crisp: in the oven; by default as `cook` likes it.
        size: ``"small"`` or ``"large"``, e.g. for two. Never mind.
        grams: how much.
        cook: who.
        recipe: where it stands.
        spices: in order.
        minutes: for each step.
    """

    salty: bool = False
    warm: bool = True
    crisp: bool | None = None
    size: Literal["small", "large"] = "small"
    grams: float = field(default=1.5, metadata=flag("--weight", "-w", minimum=0, maximum=9))
    cook: str = "me"
    recipe: Path | None = field(default=None, metadata=flag(default="the book", metavar="PAGE"))
    spices: tuple[str, ...] = ()
    minutes: tuple[int, ...] | None = field(default=None, metadata=flag(minimum=1))


def typed(*arguments, choices=None, only=None):
    """What a verb is given, and what Typer printed."""
    found = []
    kind = Options if only is None else Annotated[Options, Only(*only)]

    def verb(options, table: int = 1) -> None:
        found.append((options, table))

    verb.__annotations__["options"] = kind
    app = typer.Typer()
    app.command()(command(verb, choices or {}))
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "300"})
    return found, result


def test_every_kind_of_field_is_read():
    assert typed()[0] == [(Options(), 1)]
    given = ["--salty", "--no-warm", "--crisp", "--size", "large", "-w", 2, "--cook", "you", "--recipe", "a/b"]
    given += ["--spices", "salt, pepper", "--spices", "sage", "--minutes", "5,5,1", "--table", 4]
    wanted = Options(True, False, True, "large", 2.0, "you", Path("a/b"), ("salt", "pepper", "sage"), (5, 5, 1))
    assert typed(*given)[0] == [(wanted, 4)]
    assert typed("--no-crisp")[0][0][0].crisp is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "huge"], "'huge' is not one of 'small', 'large'"),
        (["--weight", "-1"], "0"),
        (["--weight", "10"], "9"),
        (["--weight", "much"], "Invalid value for '--weight'"),
        (["--minutes", "1,x"], "--minutes: '1,x' is not a list of numbers with commas between them"),
        (["--minutes", "3,0"], "--minutes takes numbers from 1 on, not '0'"),
        (["--minutes", ""], "--minutes: '' is not a list of numbers with commas between them"),
        (["--cook", "nobody"], "'nobody' is not one of 'me', 'you'"),
        (["--spices", "salt,sand"], "--spices takes salt, sage, not 'sand'"),
        (["--grams", "1"], "No such option: --grams"),
    ],
)
def test_what_a_field_does_not_take_is_wrong_usage(arguments, message):
    choices = {"cook": Choices(["me", "you"], ""), "spices": Choices(["salt", "sage"], "")}
    found, result = typed(*arguments, choices=choices)
    assert (found, result.exit_code) == ([], 2)
    assert message in result.stderr


def test_help_says_what_the_docstring_does():
    choices = {"cook": Choices(["me", "you"], "me: myself; you: yourself.")}
    text = " ".join(typed("--help", choices=choices)[1].stdout.replace("│", " ").split())
    for part in (
        "--salty <bool> With salt. --warm",  # the first sentence, and no default of what is off
        "--warm --no-warm <bool> Heat it up [or not]. [default: warm]",
        "In the oven; by default as --cook likes it.",  # an attribute by its flag
        "Small or large, e.g. for two. [default: small]",
        "--weight -w <float range> [0<=x<=9] How much. [default: 1.5]",
        "<me|you> Who. me: myself; you: yourself. [default: me]",
        "PAGE Where it stands. [default: (the book)]",
    ):
        assert part in text
    assert "Not too much" not in text
    assert "Never mind" not in text


def test_a_verb_may_take_some_of_the_fields():
    found, result = typed("--cook", "you", only=("cook", "recipe"))
    assert found == [(Options(cook="you"), 1)], result.output
    assert typed("--salty", only=("cook",))[1].exit_code == 2


def test_ranges_hold_for_callers_in_python_too():
    require_in_range(Options(grams=0, minutes=(1, 2)))
    for wrong in (Options(grams=-1), Options(grams=9.5), Options(grams=float("nan")), Options(minutes=(3, 0))):
        with pytest.raises(InputError, match="must be at"):
            require_in_range(wrong)
    with pytest.raises(InputError, match="iterations must be at least 1, not 0"):
        BenchOptions(iterations=0)


@pytest.mark.parametrize("owner", OWNERS)
def test_every_field_has_help(owner):
    docs = attribute_docs(owner)
    assert set(docs) == {one.name for one in dataclasses.fields(owner)}
    for one in dataclasses.fields(owner):
        help_text = flag_of(one).help or first_sentence(docs[one.name])
        assert len(help_text) > 10
        assert "``" not in help_text


def spied(verb, seen):
    """The verb's own parameters, but nothing is done."""

    @functools.wraps(verb)
    def spy(**given):
        seen.append(given)

    return spy


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
def test_defaults_of_the_command_line_are_those_of_the_dataclasses(verb):
    seen = []
    app = typer.Typer()
    app.command()(command(spied(verb, seen), installed_choices()))
    result = CliRunner().invoke(app, REQUIRED.get(verb.__name__, ["bundle"]))
    assert result.exit_code == 0, result.output
    (given,) = seen
    for value in given.values():
        if dataclasses.is_dataclass(value):
            assert value == type(value)()
    declared = [name for name, one in inspect.signature(verb, eval_str=True).parameters.items()]
    assert set(given) == set(declared)


def flags_of(name):
    """The flags of a verb of the console script, by parameter."""
    from trbert_deploy.cli.app import make_app

    parameters = typer.main.get_command(make_app()).commands[name].params
    return {one.name: one.opts for one in parameters if one.opts[0].startswith("--")}


def test_load_the_command_line_and_the_report_agree_on_names(golden_bundle):
    from trbert_deploy.bench.runner import run_bench

    names = {one.name for one in dataclasses.fields(LoadOptions)}
    for verb in ("bench", "predict"):
        flags = flags_of(verb)
        assert {name: flags[name] for name in names} == {name: [f"--{name.replace('_', '-')}"] for name in names}
    bundle = open_bundle(golden_bundle("bert-sequence-classification"))
    options = BenchOptions(iterations=1, warmup=0, batch_sizes=(1,), limit=2, threads=None)
    config = run_bench(bundle, options).as_json()["config"]
    assert set(config) == {one.name for one in dataclasses.fields(BenchOptions)} == set(flags_of("bench")) - {
        "as_json", "as_markdown", "verbose", "help",
    }  # fmt: skip
    with trbert_deploy.load(bundle, **{name: config[name] for name in names}) as engine:
        assert engine.runtime.name == "ort"
    with pytest.raises(TypeError, match="takes no iterations; it takes runtime, provider"):
        trbert_deploy.load(bundle, iterations=1)


PLUGIN = """
from trbert_deploy.runtimes.registry import RuntimePart


class Abacus(RuntimePart):
    name = "abacus"
    title = "an abacus"
    what = "beads on rods"
    devices = ("table",)
    targets = {"abacus-wood": (None, "table")}

    def open(self, bundle, options):
        raise NotImplementedError


RUNTIME = Abacus()
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Installs a package that offers runtimes: one is there, one cannot be imported."""

    def install(text):
        (tmp_path / "abacus_runtime.py").write_text(text)
        facts = tmp_path / "abacus-1.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: abacus\nVersion: 1.0\n")
        points = "abacus = abacus_runtime:RUNTIME\nbroken = abacus_absent:RUNTIME\n"
        (facts / "entry_points.txt").write_text(f"[trbert_deploy.runtimes]\n{points}")
        monkeypatch.syspath_prepend(tmp_path)

    return install


def test_a_runtime_of_another_package_is_a_choice(plugin, cli, golden_bundle):
    plugin(PLUGIN)
    text = " ".join(cli("bench", "--help", env={"COLUMNS": "300"}).stdout.replace("│", " ").split())
    assert "<ort|trt|torch|abacus|broken>" in text
    assert "abacus: beads on rods" in text
    assert "<cpu|cuda|table>" in text
    assert "ort-rtx, trt, abacus-wood; or all" in text
    bundle = golden_bundle("bert-sequence-classification")
    assert "is not one of" in cli("verify", bundle, "--runtime", "counting-board").stderr
    refused = cli("verify", bundle, "--runtime", "abacus", "--device", "cpu")
    assert "runtime 'abacus' does not run on device 'cpu'" in str(refused.exception)
    broken = cli("verify", bundle, "--runtime", "broken")
    assert "the runtime 'broken' of the package abacus cannot be loaded" in str(broken.exception)
    assert BenchOptions(beside=("abacus-wood",)).beside == ("abacus-wood",)
