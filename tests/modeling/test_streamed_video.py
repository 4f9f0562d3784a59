"""A video whose features lie in host memory or in a file has the tracks of one that is decoded at once.

Scores agree to 1e-6: float32 sums over chunks in another order. So masks differ at most in a pixel whose
logit is nearly 0.
"""

import logging
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_utils
from torch import nn

from avis.modeling.frame_storage import FileStorage, choose_place
from avis.modeling.layers import MultiheadAttention
from avis.modeling.progress import listen
from avis.modeling.running_attention import RunningAttention
from avis.structures import Track
from tests.modeling.test_avis_mask_former import clip, small_model

FAMILY = [
    "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME", "FrameClipDecoder", "MODEL.MASK_FORMER.MASK_HEAD", "dot",
    "MODEL.MASK_FORMER.TEST.MASK_QUALITY", True, "MODEL.CLIP_DECODER.NUM_QUERIES", 6,
    "MODEL.CLIP_DECODER.ENC_LAYERS", 2, "MODEL.CLIP_DECODER.WINDOW", 2,
    "MODEL.CLIP_DECODER.DIM_FEEDFORWARD", 32,
    "MODEL.LOSSES.NAMES", ["frame_prediction", "clip_prediction", "similarity"],
]  # fmt: skip
QUERY, FUSION, TEMPORAL = (
    f"MODEL.{key}" for key in ("MASK_FORMER.AUDIO_QUERY", "FUSION.NAME", "TEMPORAL_FUSION.NAME")
)
MODELS = {
    "baseline": [],
    "without fusion": [FUSION, ""],
    "vision only, dot": ["MODEL.AUDIO.NAME", "", "MODEL.MASK_FORMER.MASK_HEAD", "dot"],
    "sounding gate": ["MODEL.MASK_FORMER.SOUNDING_GATE", True],
    "extra token": [QUERY, "centric"],
    "pixels for the audio query": [QUERY, "localize"],
    "two-way fusion": [FUSION, "TwoWayAttention"],
    "VITA": [*FAMILY, "MODEL.AUDIO.NAME", ""],
    "AVISM": [*FAMILY, QUERY, "localize", FUSION, "", TEMPORAL, "window_attention"],
    "ACVIS": [*FAMILY, QUERY, "centric", FUSION, "", TEMPORAL, "window_attention"],
    "H2S": [
        *FAMILY, QUERY, "sources", FUSION, "TwoWayAttention", "MODEL.FUSION.AT", "pixel_decoder",
        TEMPORAL, "state_space", "MODEL.CLUSTERED_ATTENTION.RELEASED_PADDING", False,
    ],
}  # fmt: skip


def model_with_lively_weights(*options: object) -> nn.Module:
    """At the start fusion and gate add nothing, and so would hide a mistake in them."""
    model = small_model(*options).eval()
    gate = getattr(model.sem_seg_head.predictor, "sounding_gate", None)
    with torch.no_grad():
        for module in model.fusion.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.weight.fill_(3.0)
        if gate is not None:
            nn.init.normal_(gate.sound_proj.weight, std=20)
            gate.sound_proj.bias.fill_(1)
    return model


@torch.inference_mode()
def tracks_of(model: nn.Module, video: dict, store: str, chunk_size: int) -> list[Track]:
    model.feature_store, model.chunk_size = store, chunk_size
    return model([video])[0].tracks


def assert_same_tracks(tracks: list[Track], others: list[Track]) -> None:
    assert len(tracks) == len(others) == 10
    for track, other in zip(tracks, others, strict=True):
        assert track.score == pytest.approx(other.score, abs=1e-6)
        assert track.category_id == other.category_id
        assert num_different_pixels(track, other) <= 1


def num_different_pixels(track: Track, other: Track) -> int:
    if track.segmentations == other.segmentations:
        return 0
    pairs = zip(track.segmentations, other.segmentations, strict=True)
    masks = [[mask_utils.decode(x) if x else np.zeros((80, 100)) for x in pair] for pair in pairs]
    return int(sum((a != b).sum() for a, b in masks))


@pytest.mark.parametrize("name", MODELS)
def test_tracks_do_not_depend_on_where_features_lie(name: str):
    torch.manual_seed(3)
    video = clip(7)
    model = model_with_lively_weights(*MODELS[name])
    at_once = tracks_of(model, video, "device", chunk_size=7)
    assert any(mask for track in at_once for mask in track.segmentations)
    for store, chunk_size in (("device", 3), ("host", 3), ("file", 3), ("file", 1), ("auto", 2)):
        assert_same_tracks(tracks_of(model, video, store, chunk_size), at_once)


def test_a_fusion_of_another_kind_gets_all_frames_and_the_log_says_so(caplog):
    video = clip(5)
    other = type(
        "OtherFusion", (nn.Module,), {"forward": lambda self, visual, audio: visual + visual.mean(2, True)}
    )
    model = small_model(FUSION, "TPAVI").eval()
    model.fusion = nn.ModuleDict({name: other() for name in model.fusion})
    at_once = tracks_of(model, video, "device", chunk_size=5)
    with caplog.at_level(logging.INFO):
        assert_same_tracks(tracks_of(model, video, "file", chunk_size=2), at_once)
    assert "the fusion OtherFusion needs all 5 frames at once" in caplog.text


@pytest.mark.parametrize("masked", [True, False])
def test_attention_to_chunks_of_keys_is_attention_to_all_of_them(masked: bool):
    torch.manual_seed(0)
    attention, queries, keys, values = (
        MultiheadAttention(16, 4),
        *(torch.randn(2, n, 16) for n in (5, 20, 20)),
    )
    keys *= 20  # the largest logits come late in some rows and early in others
    allowed = torch.rand(2, 5, 20) > 0.5 if masked else None
    if masked:
        allowed[0, 1, :8] = False  # no key of the first chunk
        allowed[1, 2] = False  # none at all
    running = RunningAttention(attention, queries)
    for chunk in (slice(0, 8), slice(8, 9), slice(9, 20)):
        part = None if allowed is None else allowed[..., chunk]
        running.add(keys[:, chunk], values[:, chunk], part)
    empty = torch.zeros(2, 5, dtype=torch.bool) if allowed is None else ~allowed.any(-1)
    assert torch.equal(running.without_keys(), empty)
    found, expected = running.attended(), attention(queries, keys, values, allowed)
    # float32 sums in another order
    torch.testing.assert_close(found[~empty], expected[~empty], atol=1e-6, rtol=1e-5)


def test_a_listener_hears_of_progress_up_to_the_end():
    heard: list[tuple[float, float]] = []
    model, video = small_model().eval(), clip(5)
    for store in ("device", "file"):
        heard.clear()
        with listen(lambda done, left: heard.append((done, left))):
            tracks_of(model, video, store, chunk_size=2)
        shares = [done for done, _ in heard]
        assert shares == sorted(shares) and len(set(shares)) > 8
        assert heard[-1] == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-6))


def test_too_little_disk_space_is_said_before_anything_is_written(monkeypatch):
    monkeypatch.setattr(FileStorage, "reserve", 2**60)
    with pytest.raises(OSError, match=r"features of 3 frames need .* GiB of disk space, but .* TMPDIR"):
        tracks_of(small_model().eval(), clip(3), "file", chunk_size=1)


# Predicts a video with a file; says so when some of it is written, and waits.
IN_A_FILE = """
import time
import torch
from tests.modeling.test_avis_mask_former import clip, small_model

test = "MODEL.MASK_FORMER.TEST."
model = small_model(test + "FEATURE_STORE", "file", test + "CHUNK_SIZE", 1).eval()
see, calls = model.sem_seg_head.see, []

def stop(*given):
    calls.append(given)
    if len(calls) == 3:
        print("open", flush=True)
        time.sleep(600)
    return see(*given)

model.sem_seg_head.see = stop
with torch.inference_mode():
    model([clip(4)])
"""


def unlinked_bytes(process: int | str) -> int:
    """Bytes of the open files of a process that have no name."""
    folder = Path(f"/proc/{process}/fd")
    there = [link for link in folder.iterdir() if os.path.lexists(link)]  # not that of the listing itself
    links = [link for link in there if os.readlink(link).startswith(tempfile.gettempdir())]
    return sum(status.st_size for status in map(os.stat, links) if not status.st_nlink)


def run_script(code: str, temporary: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | {"TMPDIR": str(temporary)},
        cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_file_is_gone_after_a_kill(tmp_path: Path):
    with run_script(IN_A_FILE, tmp_path) as process:
        assert process.stdout.readline() == "open\n"
        assert list(tmp_path.iterdir()) == []
        assert unlinked_bytes(process.pid) > 50_000  # what two frames have been written
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_file_is_gone_after_an_error():
    model, sizes = small_model().eval(), [unlinked_bytes("self")]  # pytest's own files of what is printed

    def fail(parts, audio):
        sizes.append(unlinked_bytes("self"))
        raise KeyError("interrupted")

    model.sem_seg_head.decide = fail
    with pytest.raises(KeyError, match="interrupted"):
        tracks_of(model, clip(4), "file", chunk_size=1)
    before, meanwhile = sizes
    assert meanwhile - before > 100_000
    assert unlinked_bytes("self") - before < 10_000


# Prints by how many MiB the peak memory of a process grows from a video of 40 frames to one of 160 whose
# features lie in a file, and then to one of 160 whose features lie in memory.
GROWTH = """
import torch
from avis.benchmark.timing import peak_memory
from avis.data.video_frames import VideoFrames
from tests.modeling.test_streamed_video import MODELS, small_model

def frame(index):
    return torch.randint(256, (3, 128, 256), generator=torch.Generator().manual_seed(index)).byte()

def peak(model, length, store):
    model.feature_store = store
    video = {"image": VideoFrames(frame, length), "height": 128, "width": 256, "video_id": 1}
    with torch.inference_mode():
        model([video | {"audio_features": torch.rand(length, 1, 128)}])
    return 1024 * peak_memory()

wide = ("SEM_SEG_HEAD.CONVS_DIM", "SEM_SEG_HEAD.MASK_DIM", "MASK_FORMER.HIDDEN_DIM")
options = [value for key in wide for value in (f"MODEL.{key}", 64)]
model = small_model(*MODELS["NAME"], *options, "MODEL.MASK_FORMER.TEST.CHUNK_SIZE", 4).eval()
peak(model, 40, "file")  # allocators keep more and more at first
short, long, in_memory = peak(model, 40, "file"), peak(model, 160, "file"), peak(model, 160, "host")
print(long - short, in_memory - long)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["baseline", "ACVIS"])
def test_memory_does_not_grow_with_a_video_whose_features_lie_in_a_file(tmp_path: Path, name: str):
    with run_script(GROWTH.replace("NAME", name), tmp_path) as process:
        in_a_file, in_memory = map(float, process.stdout.read().split())
    # The features of 120 frames take 80 MiB. Fragments of the allocator come to some MiB more or less.
    assert in_a_file < 25
    assert in_memory > 50


def test_small_features_stay_on_the_device_and_large_ones_go_to_a_file():
    places = [choose_place(quarters * 2**28, torch.device("cpu")) for quarters in (1, 8, 9)]
    assert places == ["device", "host", "file"]
