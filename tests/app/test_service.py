"""What the page does, without the page."""

import threading
import zipfile

import av
import numpy as np
import pytest

from avis.app import Refused
from avis.app.found import ALL_TRACKS
from avis.files import read_json
from avis.media.video import decode_video


def ignore(doing, share):
    """What is told of progress."""


def test_a_video_becomes_overlay_table_timeline_and_files(service, upload):
    told = []
    assert service.look_at("me", str(upload())) == "concert.mp4: 2.0 s, 48 × 32, with sound."
    view = service.predict("me", str(upload()), "tiny", 0.0, lambda *report: told.append(report))
    assert [row[0] for row in view.rows] == [1, 2, 3]
    assert view.choices[0] == view.choice == ALL_TRACKS and len(view.choices) == 4
    assert view.status.startswith("**3 tracks** above 0.00. concert.mp4: 2.0 s")
    with av.open(str(view.overlay)) as container:
        assert container.streams.audio and container.duration / 1e6 == pytest.approx(2, abs=0.1)
    assert view.timeline.is_file()
    names = [path.name for path in (view.overlay, *view.files)]
    assert names == ["concert.mp4", "concert.json", "concert.csv", "concert_masks.zip"]
    content = read_json(view.files[0])
    assert content["made_by"] == {"program": "avis app", "input": "concert.mp4", "run": "tiny"}
    assert len(content["tracks"]) == 3 and content["video"]["num_frames"] == 2
    with zipfile.ZipFile(view.files[2]) as archive:
        assert sorted(name for name in archive.namelist() if name.endswith(".png")) == [
            "00000.png",
            "00001.png",
        ]
    stages = list(dict.fromkeys(doing.split(",")[0] for doing, _ in told))
    assert stages == [
        "Looking at the video",
        "Loading the model",
        "Decoding",
        "The model computes",
        "Drawing",
    ]
    shares = [share for _, share in told]
    assert shares == sorted(shares) and shares[-1] == 1.0


def test_another_threshold_and_one_track_alone_are_drawn_without_the_model(service, upload, monkeypatch):
    view = service.predict("me", str(upload()), "tiny", 0.0, ignore)
    monkeypatch.setattr(type(service.weights), "load", None)  # from here on, nothing is predicted
    scores = [track["score"] for track in read_json(view.files[0])["tracks"]]
    fewer = service.show("me", scores[2], ALL_TRACKS, ignore)
    assert [row[0] for row in fewer.rows] == [1, 2]
    assert len(read_json(fewer.files[0])["tracks"]) == 2
    alone = service.show("me", 0.0, view.choices[2], ignore)
    assert alone.choice == view.choices[2] and len(alone.rows) == 3
    assert alone.overlay.name == f"concert_{view.choices[2].replace(' ', '_')}.mp4"
    heights = [next(decode_video(each.overlay)).shape[0] for each in (view, fewer, alone)]
    assert heights[0] > heights[1] > heights[2]  # a row of the strip for each track
    assert service.show("me", 0.0, ALL_TRACKS, ignore).overlay == view.overlay
    none = service.show("me", 1.0, ALL_TRACKS, ignore)
    assert none.rows == [] and none.timeline is None
    assert none.status.startswith(f"**No track** scores more than 1.00. The best has {scores[0]:.2f}")


def test_a_track_alone_has_its_own_colour(service, upload):
    view = service.predict("me", str(upload()), "tiny", 0.0, ignore)
    alone = service.show("me", 0.0, view.choices[2], ignore)
    strip = next(decode_video(alone.overlay))[480:]
    blue = (np.abs(strip.astype(int) - (46, 139, 255)).max(axis=2) < 30).sum()
    orange = (np.abs(strip.astype(int) - (255, 159, 28)).max(axis=2) < 30).sum()
    assert blue > 1000 > orange


def test_refusals_name_no_folder(service, upload, workspace):
    broken = upload("broken.mp4", b"not a video", "other")
    for given, message in ((None, "first"), (str(broken), "broken.mp4 is no video")):
        with pytest.raises(Refused, match=message) as refused:
            service.predict("me", given, "tiny", 0.5, ignore)
        assert str(workspace.folder) not in str(refused.value)
    with pytest.raises(Refused, match="no result any more"):
        service.show("stranger", 0.5, ALL_TRACKS, ignore)


def test_what_is_no_upload_is_not_opened(service, weights, caplog):
    with pytest.raises(Refused) as refused:
        service.predict("me", str(weights), "tiny", 0.5, ignore)
    assert "is no upload" in str(refused.value)


def test_a_mistake_of_the_program_goes_to_the_log_alone(service, upload, monkeypatch, caplog):
    def fail(*_):
        raise TypeError("secret")

    monkeypatch.setattr(type(service.weights), "load", fail)
    with pytest.raises(Refused, match="The log of the program says what") as refused:
        service.predict("me", str(upload()), "tiny", 0.5, ignore)
    assert "secret" not in str(refused.value) and "secret" in caplog.text


def test_what_is_under_way_can_be_stopped(service, upload, workspace):
    def stop(doing, share):
        if doing == "Decoding":
            workspace.stop("me")

    with pytest.raises(Refused, match=r"^Stopped\.$"):
        service.predict("me", str(upload()), "tiny", 0.0, stop)
    assert service.predict("me", str(upload()), "tiny", 0.0, ignore).rows


def test_a_closed_tab_ends_what_it_waits_for(service, upload, workspace):
    closing = threading.Thread(target=workspace.close, args=("me",))
    session = workspace.session("me")

    def close(doing, share):
        if doing == "Decoding" and not session.stop.is_set():
            closing.start()
            assert session.stop.wait(30)

    with pytest.raises(Refused, match="Stopped"):
        service.predict("me", str(upload()), "tiny", 0.0, close)
    closing.join()
    assert list(workspace.folder.iterdir()) == []


def test_times_count_from_the_first_frame(service, upload):
    view = service.predict("me", str(upload()), "tiny", 0.0, ignore)
    assert read_json(view.files[0])["frame_times"] == [0.0, 1.0]
