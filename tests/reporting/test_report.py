"""`neuron-signatures report`: what the page says, that it is safe, and how the command fails."""

from __future__ import annotations

import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from explorer import HOSTILE, hostile_run, plain_run
from intervention_results import write_all, write_hostile
from paths import DEMO_RUN
from report_pages import Page, make_report, refuse
from score_runs import make_scored_run
from test_viewers_without_torch import run_blocked

from neuron_signatures.__main__ import main as console
from neuron_signatures.report import main
from neuron_signatures.reporting import build as building
from neuron_signatures.reporting.build import build
from neuron_signatures.reporting.settings import DETAILS, MAX_BYTES, Settings
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.verify import verify_run

TITLES = ("The question", "How good are the explanations?", "Interventions, with their controls",
          "What was not checked", "How it was made", "Words")  # fmt: skip
EVIL = ["<script>alert(1)</script>", "\x1b[31mred\x1b[0m", "a\u202eb\u2066c", "\"'><img src=x onerror=alert(1)>",
        "</style></div><h1>EVIL</h1>", "javascript:alert(1)", "x" * 60_000]  # fmt: skip


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    """The small demo run with results of interventions."""
    return write_all(Path(shutil.copytree(DEMO_RUN, tmp_path_factory.mktemp("report") / "demo")))


@pytest.fixture(scope="module")
def scored(tmp_path_factory) -> Path:
    """A run with records, explanations and scores, and no prompts."""
    return make_scored_run(tmp_path_factory.mktemp("report") / "scored")


@pytest.fixture(scope="module")
def demo_page(demo) -> Page:
    return make_report(demo)


@pytest.fixture(scope="module")
def scored_page(scored) -> Page:
    return make_report(scored)


def test_every_section_is_there_and_well_formed(demo_page, scored_page):
    for page in (demo_page, scored_page):
        assert not page.unbalanced and not page.open
        assert all(title in page.text for title in TITLES)
        anchors = [a["href"][1:] for name, a in page.tags if name == "a"]
        ids = [a["id"] for _, a in page.tags if "id" in a]
        assert len(ids) == len(set(ids)) and set(anchors) <= set(ids)


def test_the_question_and_its_neurons(demo_page):
    assert "say “Austin”?" in demo_page.text
    assert "The capital of the state containing Dallas is" in demo_page.text
    assert "with probability" in demo_page.text and "the most likely token" in demo_page.text
    cards = [a["id"] for name, a in demo_page.tags if name == "article" and "id" in a]
    assert len(cards) == 10 and all(re.fullmatch(r"L\d+N\d+", c) for c in cards)


def test_interventions_are_shown_with_their_controls(demo_page):
    assert demo_page.text.count("Side effects on text") >= 3
    assert "the control's 5th to 95th percentile" in demo_page.text
    assert "raises the difference of the two logits (·Sacramento minus ·Austin) by 6.0; 1,000 random sets" \
        in demo_page.text  # fmt: skip


def test_scores_have_their_null_interval_and_failures(scored_page):
    text = scored_page.text
    assert "correlation, uniform 0.60 0.55 to 0.65" in text
    assert "beside its null" in text and "lift" in text and "null mean" in text
    assert "timed out" in text  # of a judge that gave no answer
    assert "simulated" in text and "where the prediction is farthest off".capitalize() in text
    assert "the prediction is the same everywhere" in text  # an undefined score says why
    assert "By layer" in text and "Scores of all neurons against the null" in text


def test_what_was_not_checked_is_read_from_the_run(demo, scored_page):
    text = make_report(demo).text
    assert "No neuron was changed" not in text and "there are no records of a corpus" in text
    assert "was not compared with another answer" in text
    assert "have an interval that includes the mean of their null" in scored_page.text
    assert "contrastive__rule: the scores are not finished" in scored_page.text


def test_commands_in_the_report_are_those_of_the_programs(demo_page):
    import shlex

    from neuron_signatures.poc2_analyze_run import make_parser

    lines = re.findall(r"<pre class=\"cmd\">(.*?)</pre>", demo_page.html)
    lines = [re.sub(r"<[^>]+>", "", line).replace("&#x27;", "'").replace("&quot;", '"') for line in lines]
    of_stage_2 = [shlex.split(line)[3:] for line in lines if "poc2_analyze_run" in line]
    assert of_stage_2
    for words in of_stage_2:
        make_parser().parse_args(words)


@pytest.mark.parametrize("which", ["hostile", "evil"])
def test_nothing_from_data_becomes_markup(which, tmp_path):
    run_dir = tmp_path / "run"
    hostile_run(run_dir)
    words = HOSTILE if which == "hostile" else EVIL
    write_hostile(run_dir, "".join(words)[:900], words)
    page = make_report(run_dir)
    assert not page.unbalanced and not page.open
    assert page.names.isdisjoint({"script", "img", "iframe", "object", "embed", "link", "base", "form", "input", "h5"})
    assert all(not key.startswith("on") for _, attrs in page.tags for key in attrs)
    assert all(value.startswith("#") for value in page.loads())
    assert re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", page.html) is None
    assert len(page.html.encode()) < MAX_BYTES


def test_hostile_texts_of_explanations_and_scores_are_shown_escaped(scored_page):
    assert "<b>x</b>" not in scored_page.html and "\x1b" not in scored_page.html


@pytest.mark.parametrize("name", ["demo_page", "scored_page"])
def test_nothing_is_loaded_from_elsewhere(name, request):
    page = request.getfixturevalue(name)
    assert "script" not in page.names and all(value.startswith("#") for value in page.loads())
    assert "url(" not in page.style and "@import" not in page.style and "http" not in page.style
    policy = next(a["content"] for n, a in page.tags if n == "meta" and a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    assert not any("style" in attrs for _, attrs in page.tags)


def test_the_same_run_gives_the_same_bytes_but_for_the_time(demo):
    stamps = r"Written \S+ by"
    pages = []
    for _ in range(2):
        with Run.open(demo) as run:
            pages.append(re.sub(stamps, "", build(run, Settings()).html))
    assert pages[0] == pages[1]


def test_a_large_report_shows_less_and_says_so(demo, monkeypatch):
    with Run.open(demo) as run:
        whole = build(run, Settings(top_k=30))
        monkeypatch.setattr(building, "MAX_BYTES", len(whole.html) - 1)
        small = build(run, Settings(top_k=30))
    assert not whole.left_out and len(small.html) < len(whole.html)
    assert "this report shows at most" in small.left_out and small.left_out in Page(small.html).text


def test_each_smaller_detail_shows_less():
    fields = ("windows", "prompt_tokens", "explanations", "characters", "rows", "files", "neurons")
    for more, less in pairwise(DETAILS):
        assert all(getattr(less, f) <= getattr(more, f) for f in fields)


@pytest.mark.parametrize("fill", [None, float("nan"), 0.0])
def test_a_dump_alone_names_what_is_missing(fill, tmp_path):
    plain_run(tmp_path / "run", fill=fill)
    page = make_report(tmp_path / "run")
    for module in ("poc2_analyze_run", "poc3_intervene", "poc4_extract_records", "poc5_explain_neurons"):
        assert f"python -m neuron_signatures.{module} --run_dir" in page.text


DAMAGE = {
    "activations.safetensors": "activations",
    "analysis/*.json": "analysis",
    "analysis/*.parquet": "tables",
    "interventions/*.json": "interventions",
}


@pytest.mark.parametrize("pattern", DAMAGE)
def test_damaged_parts_become_a_line_each(pattern, demo, tmp_path):
    run_dir = Path(shutil.copytree(demo, tmp_path / "run"))
    for path in run_dir.glob(pattern):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    page = make_report(run_dir)
    assert "Cannot be shown." in page.text and all(title in page.text for title in TITLES)


@pytest.mark.parametrize(
    "name", ["records/strongest.safetensors", "records/neurons.parquet", "records/corpus_meta.json",
             "explanations/highlighted_settings.json", "explanations/highlighted.jsonl",
             "scores/highlighted__embedding_meta.json", "scores/highlighted__embedding.parquet",
             "scores/contrastive__rule_settings.json"],
)  # fmt: skip
@pytest.mark.parametrize("how", ["cut", "removed"])
def test_no_damage_of_records_explanations_or_scores_ends_the_report(name, how, scored, tmp_path):
    run_dir = Path(shutil.copytree(scored, tmp_path / "run"))
    path = run_dir / name
    path.unlink() if how == "removed" else path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert all(title in make_report(run_dir, "--top_k", "2").text for title in TITLES)


def test_another_prompt_and_another_result_are_chosen_by_flags(demo):
    with Run.open(demo) as run:
        stems = sorted(p.name.removesuffix("_meta.json") for p in (demo / "analysis").glob("influence_*_meta.json"))
        other = next(p.probe_id for p in run.prompts if not any(p.probe_id in s for s in stems))
    page = make_report(demo, "--influence", stems[-1], "--top_k", "3")
    assert sum(name == "article" and "id" in a for name, a in page.tags) == 3
    page = make_report(demo, "--prompt_id", other)
    assert "No ranking of neurons by their influence on an answer to this prompt was made" in page.text


def test_mistakes_end_with_one_line(demo, tmp_path, capsys):
    assert refuse(capsys, "--run_dir", str(tmp_path / "no"))[0] == 3
    (tmp_path / "empty").mkdir()
    assert refuse(capsys, "--run_dir", str(tmp_path / "empty"))[0] == 3
    code, line = refuse(capsys, "--run_dir", str(demo), "--influence", "influence_seed")
    assert code == 2 and "Did you mean influence_seed_prompt" in line
    code, line = refuse(capsys, "--run_dir", str(demo), "--prompt_id", "nobody")
    assert code == 2 and "no prompt 'nobody'" in line
    for flags in (["--top_k", "0"], ["--top_k", "101"], ["--top_k", "x"], []):
        assert refuse(capsys, *(["--run_dir", str(demo), *flags] if flags else []))[0] == 2
    stem = next((demo / "analysis").glob("influence_seed_prompt*_meta.json")).name.removesuffix("_meta.json")
    code, line = refuse(capsys, "--run_dir", str(demo), "--influence", stem, "--prompt_id", "probe_8_Dallas")
    assert code == 2 and "Give --prompt_id or --influence, not both" in line


def test_only_reports_are_replaced(demo, tmp_path, capsys):
    out = tmp_path / "answer.html"
    flags = ["--run_dir", str(demo), "--out", str(out), "--top_k", "1"]
    assert main(flags) == 0 and main(flags) == 0  # its own file
    capsys.readouterr()
    out.write_text("<html>mine</html>")
    code, line = refuse(capsys, *flags)
    assert code == 2 and "exists and is not a report" in line and out.read_text() == "<html>mine</html>"
    assert main([*flags, "--overwrite"]) == 0 and "Austin" in out.read_text()
    capsys.readouterr()
    link = tmp_path / "link.html"
    link.symlink_to(out)
    for bad, words in ((link, "is a link"), (tmp_path, "is a folder"), (tmp_path / "no" / "x.html", "no such folder")):
        code, line = refuse(capsys, "--run_dir", str(demo), "--out", str(bad))
        assert code == 2 and words in line


def test_a_report_needs_neither_torch_nor_streamlit(demo, tmp_path):
    flags = ["--run_dir", str(demo), "--out", str(tmp_path / "x.html")]
    program = f"from neuron_signatures.report import main\nassert main({flags!r}) == 0\n" \
              "assert not {'streamlit', 'plotly', 'textual', 'openai'} & sys.modules.keys()"  # fmt: skip
    done = run_blocked(program)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x.html").stat().st_size > 20_000


def test_the_console_has_the_command(demo, tmp_path, capsys):
    assert console(["report", "--run_dir", str(demo), "--out", str(tmp_path / "x.html"), "--top_k", "1"]) == 0
    assert "written" in capsys.readouterr().out
    assert console(["report"]) == 2


def test_the_tools_know_the_file(demo, tmp_path, capsys):
    run_dir = Path(shutil.copytree(demo, tmp_path / "run"))
    make_report(run_dir, "--top_k", "1")
    assert not list(run_dir.glob(".tmp*"))
    before = verify_run(run_dir)
    assert not before.faults
    capsys.readouterr()
    assert console(["runs", "show", str(run_dir)]) == 0
    assert re.search(r"^report +report.html, \d", capsys.readouterr().out, re.M)
    (run_dir / "report.html").unlink()
    (run_dir / "report.html").symlink_to("manifest.json")
    assert "report.html is not a regular file" in verify_run(run_dir).remarks
