"""`BiEncoderModel` and FlagEmbedding's `BiEncoderOnlyEmbedderModel` on the same features, on one process and on two.

``python -m tests.peers.check_bi_encoder`` writes the largest differences of loss and gradient to RESULTS.md, and ends
with exit code 1 where one is above 1e-6. float64, tiny random BERT, groups of 4. FlagEmbedding's gather carries no
gradient, so after averaging its contrastive gradient is 1 / processes of the global batch's: it is compared after that
factor, which with ``kl_div`` stands at the contrastive part alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.peers.process import environment
from tests.peers.results import table, write_section
from tests.peers.rows import ROOT, stop
from tests.sharpen.models.tiny_models import make_model

LIMIT = 1e-6
QUERIES, GROUP, LENGTH = 6, 4, 12
SHARP = {"normalized": True, "temperature": 0.05}
FLAT = {"normalized": False, "temperature": 1.0}
M3 = {"kd_loss_type": "m3_kd_loss"}
# options of both classes, whether there are teacher scores
ALONE: dict[str, tuple[dict[str, Any], bool]] = {
    "in-batch": (SHARP, False),
    "in-batch, not normalised": (FLAT, False),
    "in-batch, mean pooling": ({**SHARP, "sentence_pooling_method": "mean"}, False),
    "no in-batch": ({**SHARP, "use_inbatch_neg": False}, False),
    "no in-batch, not normalised": ({**FLAT, "use_inbatch_neg": False}, False),
    "kl_div": (SHARP, True),
    "kl_div, not normalised": (FLAT, True),
    "kl_div, no in-batch": ({**SHARP, "use_inbatch_neg": False}, True),
    "m3_kd_loss": ({**SHARP, **M3}, True),
    "m3_kd_loss, not normalised": ({**FLAT, **M3}, True),
}
ACROSS = {
    name: ({**options, "negatives_cross_device": True}, distilled)
    for name, (options, distilled) in ALONE.items()
    if "no in-batch" not in name
}


def main() -> None:
    python = Path(os.environ.get("SHARPEN_PEER_FLAGEMBEDDING") or ROOT / ".venv-flagembedding") / "bin" / "python"
    if not python.is_file():
        stop(f"no FlagEmbedding environment at {python.parents[1]}; `make bench-finetuning` makes it")
    rows, worst = [], 0.0
    with tempfile.TemporaryDirectory(prefix="check-bi-encoder-") as place:
        folder = Path(place)
        make_model(folder / "model", "bert")
        write_features(folder / "features.npz")
        for processes, variants in ((1, ALONE), (2, ACROSS)):
            ours = results("sharpen", Path(sys.executable), folder, variants, processes)
            theirs = results("FlagEmbedding", python, folder, variants, processes)
            for name in variants:
                loss, gradient = differences(name, ours, theirs, processes)
                worst = max(worst, loss, gradient)
                rows.append([name, str(processes), f"{loss:.1e}", f"{gradient:.1e}"])
    compared = table(["loss", "processes", "loss differs by", "gradient differs by"], rows)
    text = (
        f"`BiEncoderModel` beside FlagEmbedding 1.4.2's `BiEncoderOnlyEmbedderModel`: {QUERIES} queries in groups of "
        f"{GROUP}, a tiny random BERT, float64, gradients relative to the largest number of any weight's. On several "
        "processes FlagEmbedding's contrastive gradient, 1 / processes of the global batch's, is multiplied by them. "
        "It rounds teacher scores to float32.\n\nCommand: `python -m tests.peers.check_bi_encoder`."
    )
    write_section("One step of the bi-encoder", f"{text}\n\n{compared}")
    sys.exit(int(worst > LIMIT))


def write_features(path: Path) -> None:
    """Token ids of queries and passages with padding on the right, and teacher scores."""
    draw = torch.Generator().manual_seed(5)
    features: dict[str, Any] = {"teacher": torch.randn(QUERIES, GROUP, generator=draw).numpy()}
    for kind, count in (("query", QUERIES), ("passage", QUERIES * GROUP)):
        lengths = torch.randint(3, LENGTH + 1, (count, 1), generator=draw)
        mask = (torch.arange(LENGTH) < lengths).long()
        ids = torch.randint(5, 260, (count, LENGTH), generator=draw)
        features |= {
            f"{kind}_input_ids": torch.where(mask.bool(), ids, 1).numpy(),
            f"{kind}_attention_mask": mask.numpy(),
        }
    np.savez(path, **features)


def results(library: str, python: Path, folder: Path, variants: dict, processes: int) -> dict[str, np.ndarray]:
    """Losses and gradients by ``variant/weight``, from processes of the library's own environment."""
    request, output = folder / "request.json", folder / f"{library}-{processes}.npz"
    asked = {name: {"options": options, "distilled": distilled} for name, (options, distilled) in variants.items()}
    values = {"library": library, "model": str(folder / "model"), "features": str(folder / "features.npz")}
    request.write_text(json.dumps({**values, "output": str(output), "variants": asked}))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] * (processes > 1)
    script = str(Path(__file__).with_name("bi_encoder_process.py"))
    environ = environment(folder, 1, ours=library == "sharpen")
    subprocess.run([str(python), *launcher, script, str(request)], check=True, cwd=folder, env=environ)
    return dict(np.load(output))


def differences(name: str, ours: dict, theirs: dict, processes: int) -> tuple[float, float]:
    """Of the loss, and of the gradient relative to its largest number."""
    keys = [key for key in ours if key.startswith(f"{name}/") and not key.endswith("/loss")]
    expected = {key: theirs[key] for key in keys}
    if processes > 1:
        contrastive = {key: theirs[key] for key in keys}
        if name.startswith("kl_div"):
            plain = name.replace("kl_div", "in-batch")
            contrastive = {key: theirs[f"{plain}/{key.removeprefix(f'{name}/')}"] for key in keys}
        expected = {key: theirs[key] + (processes - 1) * contrastive[key] for key in keys}
    largest = max(np.abs(values).max() for values in expected.values())
    worst = max(np.abs(ours[key] - expected[key]).max() for key in keys)
    return float(abs(ours[f"{name}/loss"] - theirs[f"{name}/loss"])), float(worst / largest)


if __name__ == "__main__":
    main()
