"""Every figure in README.md and docs/figures.md stands in a file of `benchmarks/results` with its command. Run: pytest THIS

A table of these two has a rule below, which makes the same rows out of the files; figures in sentences have one too. A table without
a rule, or a number with a decimal point that no rule covers, fails.
"""

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenzoo
import yaml
from tokenzoo.zoo import literature

ROOT = Path(tokenzoo.__file__).parent
RESULTS = ROOT / "benchmarks/results"
if not RESULTS.is_dir():
    pytest.skip("not a checkout", allow_module_level=True)
README = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "docs/figures.md"))
PROSE = " ".join(re.sub(r"```.*?```", " ", README, flags=re.DOTALL).split())


def results(name: str, key: str = "results") -> list[dict[str, Any]]:
    return json.loads((RESULTS / f"{name}.json").read_text())[key]


def tables() -> dict[str, list[list[str]]]:
    """Head of a table, its cells joined by "|" -> its rows."""
    found: dict[str, list[list[str]]] = {}
    lines = README.splitlines()
    for at, (head, rule) in enumerate(itertools.pairwise(lines)):
        if head.startswith("|") and re.fullmatch(r"[|-]+", rule):
            rows = lines[at + 2 :]
            count = next(i for i, line in enumerate([*rows, ""]) if not line.startswith("|"))
            found["|".join(cells(head))] = [cells(line) for line in rows[:count]]
    return found


def cells(line: str) -> list[str]:
    return [cell.strip().strip("*`").rstrip("*") for cell in line.strip().strip("|").split("|")]


def share(value: float) -> str:
    """Without the zero before the point, three digits."""
    return f"{value:.3f}".lstrip("0")


def digits(value: float) -> str:
    """Two digits behind the point of small numbers, none of large ones."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


# --- tables: a rule gives the rows -------------------------------------------------------------------------------------------


def demo() -> list[list[str]]:
    rows = []
    for r in results("demo"):
        medium = r["medium"].replace("451 x 300 photograph", "photograph, 451 x 300")
        ratio = f"{r['raw_bytes'] / r['file_bytes']:.0f} : 1"
        sizes = [f"{r['bits']:,}", f"{r['file_bytes']:,} B", f"{r['raw_bytes']:,} B"]
        rows.append([r["tokenizer"], medium, r["tokens"], *sizes, ratio, r["quality"]])
    return rows


def models() -> list[list[str]]:
    """From the cards and the files of weights."""
    rows = []
    for name in ("photo-f16-rvq7", "speech-16khz-4kbps"):
        (card,) = tokenzoo.list_models(name)
        spec = card.facts.spec()
        if card.modality == "audio":
            media = f"speech, {spec.sample_rate_hz / 1000:g} kHz"
            rate = f"{spec.bitrate_kbps:g} kbit/s, {spec.frame_rate_hz:g} Hz"
        else:
            media = "photographs, any size"
            rate = f"{spec.bits_per_pixel():.3f} bits a pixel, {spec.stride} x {spec.stride} px a position"
        size = sum(f.stat().st_size for f in (ROOT / "zoo/checkpoints" / name).iterdir())
        books = f"{spec.num_codebooks} x {spec.vocab_sizes[0]}"
        rows.append([name, media, rate, books, f"{size / 1e6:.0f} MB", f"shipped, {card.licence_weights}"])
    return rows


def quantizers() -> list[list[str]]:
    names = ("VQ 8192 x 32", "VQ 16384 x 8", "VQ 2^18 x 8", "residual VQ 8 x 1024 x 128", "FSQ 64k", "LFQ 18 bits", "BSQ 36 bits")
    rows = []
    for name, r in zip(names, results("quantizers"), strict=True):
        number = f"{r['vectors']}" + (f" / {r['step_vectors']}" if r["vectors"] != r["step_vectors"] else "")
        row = [name, number]
        for verb in ("encode", "step"):
            ours, peer = r[f"{verb}_ours_ms"], r[f"{verb}_peer_ms"]
            times = peer / ours
            row += [digits(ours), f"{digits(peer)} ({times:.0f}x)" if times >= 10 else f"{digits(peer)} ({times:.1f}x)"]
        rows.append([*row, f"{r['step_ours_mb']:.0f}", f"{r['step_peer_mb']:.0f}"])
    return rows


def speed() -> list[list[str]]:
    names = {
        "EnCodec 24 kHz": "encodec-24khz", "Mimi": "mimi", "DAC 16 kHz": "dac-16khz", "SNAC 24 kHz": "snac-24khz",
        "LlamaGen VQ-16": "llamagen-vq16", "TiTok S-128": "titok-s128", "diffusers `VQModel": "diffusers-vqmodel",
    }  # fmt: skip
    found = {(r["case"], r["batch"]): r for r in results("audio") + results("image")}

    def times(r: dict[str, float]) -> float:
        peers = [v for k, v in r.items() if k.endswith("_ms") and "cpu" not in k and not k.startswith(("ours", "compiled"))]
        return min(peers) / r["ours_ms"]

    return [
        [name, *(f"{times(found[case, b]['encode']):.1f} / {times(found[case, b]['decode']):.1f}" for b in (1, 8))]
        for name, case in names.items()
    ]


def cold() -> list[list[str]]:
    return [[r["process"], f"{r['seconds']:.2f}"] for r in results("cold")]


def of_bench(name: str, setting: str) -> dict[str, Any]:
    """The row of one setting of the only tokenizer of a bench, in a folder or as one file."""
    file = f"{name}/bench" if (RESULTS / name).is_dir() else name
    (result,) = [r for r in results(file) if not r.get("reference")]
    (row,) = [r for r in result["rows"] if r["setting"] == setting]
    return row


def speech() -> list[list[str]]:
    names = {
        "Opus 6k": "opus-6k", "Opus 8k": "opus-8k", "Speex narrow band": "speex-nb-4k", "Speex wide band": "speex-wb-4k",
        "Codec2 3200": "codec2-3200",
    }  # fmt: skip
    (card,) = tokenzoo.list_models("speech-16khz-4kbps")
    rate = card.facts.spec().bitrate_kbps

    def own(name: str, setting: str, kbps: float) -> list[str]:
        row = of_bench("leaderboard/sound", setting)
        assert row["items"] == 56
        return [name, f"{kbps:.2f}", f"{row['figures']['PESQ-WB']:.2f}", share(row["figures"]["STOI"])]

    codecs = {r["codec"]: r for r in results("classical_speech", "rows")}
    rows = []
    for name, codec in names.items():
        r = codecs[codec]
        rows.append([name, f"{r['kbps']:.2f}", f"{r['pesq_wb'] + 1e-9:.2f}", share(r["stoi"] + 1e-9)])  # halves up, as in 2.165
    half = own("speech-16khz-4kbps, 4 of 8 codebooks", "codebooks=4", rate / 2)
    return [own(card.name, "", rate), *rows, half]


def photographs() -> list[list[str]]:
    (card,) = tokenzoo.list_models("photo-f16-rvq7")
    (whole,), first = results("photographs"), of_bench("photographs_80", "")
    assert (whole["items"], first["items"]) == (238, 80)
    assert first["figures"]["bits a pixel"] == pytest.approx(card.facts.spec().bits_per_pixel())
    rows = []
    for pictures, f in (("238", whole), ("first 80", first["figures"])):
        values = [f"{card.facts.spec().bits_per_pixel():.3f}", pictures, f"{f['PSNR dB']:.2f}", share(f["SSIM"]), share(f["LPIPS-HED"])]
        rows.append([card.name, *values])
    coded = results("classical_images", "rows")
    for name in ("JPEG", "WebP", "AVIF"):
        a, b = [next(r for r in coded if (r["codec"], r["target_bpp"]) == (name.lower(), t)) for t in (0.25, 0.3)]
        pair = [f"{a['bpp'] + 1e-9:.3f} / {b['bpp'] + 1e-9:.3f}", "first 80", f"{a['psnr_db']:.2f} / {b['psnr_db']:.2f}"]
        pair += [f"{share(a[k] + 1e-9)} / {share(b[k] + 1e-9)}" for k in ("ssim", "lpips_hed")]
        rows.append([name, *pair])
    return rows


RULES: dict[str, Callable[[], list[list[str]]]] = {
    "tokenizer|medium|tokens K x L|bits|token file|raw|ratio|quality": demo,
    "model|media|rate|codebooks|size|weights": models,
    "|N|encode, ms|peer|training step, ms|peer|memory of a step, MB|peer": quantizers,
    "process|seconds": cold,
    "|batch 1|batch 8": speed,
    "|kbit/s|PESQ-WB|STOI": speech,
    "|bits a pixel|pictures|PSNR dB|SSIM|LPIPS-HED": photographs,
}


@pytest.mark.parametrize("head", RULES)
def test_tables_equal_the_files(head: str) -> None:
    assert tables()[head] == RULES[head]()


def test_every_table_has_a_rule() -> None:
    assert set(tables()) == {*RULES, "you want to|page"}


# --- sentences: a pattern with the figures as groups, and what they must be ----------------------------------------------------


def language_models() -> list[str]:
    """Sizes and steps of the bundled runs, and what these printed."""
    sizes, steps, found = set(), [], results("lm")
    for r in found:
        config = yaml.safe_load((ROOT / "configs" / f"{r['command'].split()[-1]}.yaml").read_text())
        width, layers = config["model"]["width"], config["model"]["layers"]
        attention, gated = 4 * width**2, 3 * 3 * width**2
        sizes.add(f"{(2 * 1024 * width + layers * (attention + gated)) / 1e6:.1f}")
        steps.append(f"{config['steps']:,}")
    (size,) = sizes
    return [size, *steps, *(f"{r[key]:.2f}" for key in ("bits", "unigram_bits") for r in found)]


def tokenizing() -> list[str]:
    found = {r["case"]: r["model_ms"] / r["whole_ms"] for r in results("corpus")}
    return [f"{100 * found[case]:.0f}" for case in ("photographs, whole", "speech")]


def matrix_products() -> list[str]:
    times = [r["encode_ours_cpu_ms"] / r["matmul_cpu_ms"] for r in results("quantizers") if "matmul_cpu_ms" in r]
    return [f"{min(times):.1f}", f"{max(times):.1f}"]


def training() -> list[str]:
    found = {r["case"]: f"{r['faster_cpu'][0]:.1f}" for r in results("training")}
    return [found[c] for c in ("llamagen-vq16", "titok-s128-stage1", "encodec-24khz", "dac-44khz", "plain-vq", "plain-residual-vq")]


def used_of_speech() -> list[str]:
    (r,) = results("codebook_use")
    first, *others = (f"{100 * u:.1f}" for u in r["usage"])
    return [f"{r['seconds'] / 3600:.2f}", f"{r['frames']:,}", first, min(others, key=float), max(others, key=float)]


def used_of_photographs() -> list[str]:
    (whole,) = results("photographs")
    return [f"{100 * whole['least usage of a codebook']:.0f}"]


def entropy_coding() -> list[str]:
    saved = {r["tokenizer"]: r["saved"] for r in results("entropy") if r["media"].startswith("test split")}
    return [f"{100 * saved[name]:.1f}" for name in ("photo-f16-rvq7", "speech-16khz-4kbps")]


SENTENCES: dict[str, Callable[[], list[str]]] = {
    r"in (\S+) % fewer bits for held-out photographs and (\S+) % fewer for held-out speech": entropy_coding,
    r"of (\S+) M parameters, trained for ([\d,]+) and (\d+) .* of (\S+) and (\S+) bits a .* is (\S+) and (\S+) bits": language_models,
    r"test split, (\S+) h and ([\d,]+) frames, (\S+) % of .* first codebook occur, and (\S+) to (\S+) % of those": used_of_speech,
    r"tokenization of photographs runs at (\d+) % of the speed of the model alone, of speech at (\d+) %": tokenizing,
    r"nearest-neighbour search takes (\S+) to (\S+) times as long as its matrix products": matrix_products,
    r"VQ-16 (\S+) times as fast, .* stage (\S+), EnCodec (\S+), DAC (\S+), a small .* quantizers (\S+) and (\d\.\d)\.": training,
    r"At least (\d+) % of the codes of each of the 7 codebooks occur": used_of_photographs,
}
#: Numbers with a decimal point that are no figures: versions, hours of training, the range of a scale, a value in an example.
NO_FIGURES = (
    r"Python 3\.11", r"vector-quantize-pytorch 1\.32", r"torch 2\.14(\.1)?", r"Apache-2\.0", r"CC-BY-SA-4\.0", r"1 to 4\.64",
    r"w2v-BERT 2\.0", r"wav2vec 2\.0", r"arXiv 2503\.16430", r"for 3\.5 h \(speech\) and 1\.5 h", r"<1\.5kbps", r"rate=\.9",
)  # fmt: skip


@pytest.mark.parametrize("pattern", SENTENCES)
def test_sentences_equal_the_files(pattern: str) -> None:
    found = re.search(pattern, PROSE)
    assert found and list(found.groups()) == SENTENCES[pattern]()


def test_every_number_with_a_point_has_a_rule() -> None:
    rest = re.sub(r"^\|.*$", " ", re.sub(r"```.*?```", " ", README, flags=re.DOTALL), flags=re.MULTILINE)
    rest = " ".join(rest.split())
    for pattern in SENTENCES:
        rest = re.sub(pattern, " ", rest)
    for pattern in NO_FIGURES:
        rest = re.sub(pattern, " ", rest)
    left = [rest[max(0, m.start() - 40) : m.end() + 20] for m in re.finditer(r"(?<![\w.])\d*\.\d+(?![\w.])", rest)]
    assert not left


@pytest.mark.parametrize("path", sorted(RESULTS.rglob("*.json")), ids=lambda p: p.relative_to(RESULTS).as_posix())
def test_results_hold_their_command(path: Path) -> None:
    found = json.loads(path.read_text())
    rows = found if isinstance(found, list) else found.get("results", [])  # a history is a list, each row with its own date
    about = {} if isinstance(found, list) else found.get("about", found)
    commands = [about["command"]] if about.get("command") else [r.get("command", "") for r in rows]
    assert all(c.startswith(("python benchmarks/", "tokenzoo ")) for c in commands) and commands
    dates = [about["date"]] if about else [r["date"] for r in rows]
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\d", date) for date in dates)


@pytest.mark.parametrize("name", ["speech-16khz-4kbps", "photo-f16-rvq7"])
def test_figures_of_own_checkpoints_equal_the_files(name: str) -> None:
    """Those that `tokenzoo info` shows, in as many digits as they have."""
    measured = of_bench("leaderboard/sound", "")["figures"] if name.startswith("speech") else results("photographs")[0]
    own = {f.metric: f.value for f in literature.figures_of(name) if f.by == "here"}
    assert own == {metric: round(measured[metric], len(str(value).split(".")[1])) for metric, value in own.items()}
    assert len(own) == 2
