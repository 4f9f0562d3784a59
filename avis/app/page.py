"""The page itself, as Gradio builds it. It decides nothing: all work is the service's."""

from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from avis.app.found import ALL_TRACKS, COLUMNS
from avis.app.limits import Refused
from avis.app.service import PredictionService
from avis.app.views import Report, View

TITLE = "AVIS: what sounds in a video?"
CSS = """
.gradio-container { max-width: 1280px !important; }
#overlay video, #video video { max-height: 70vh; }
#timeline img { width: 100%; }
#status { min-height: 5.5rem; padding: 0.25rem 0; }
#status .pending { opacity: 0; }
/* Trimming would need a program from elsewhere. */
#video button[aria-label="Trim video to selection"], #video button[title*="rim"] { display: none; }
#tracks :is(th, td, [role="gridcell"]), #tracks [role="gridcell"] * { font-family: var(--font); }
#tracks th * { word-break: normal; overflow-wrap: normal; }
@media (max-width: 600px) {
    #tracks :is(th, td, [role="gridcell"]) { font-size: 12px; padding-inline: 2px; }
}
footer { display: none !important; }
"""
INTRODUCTION = (
    f"# {TITLE}\nFinds every object that makes sound, with a mask in each frame in which it sounds."
)
# Of the table's columns.
WIDTHS = ["12%", "25%", "20%", "24%", "19%"]
SOLO_INFO = "One alone: its mask and its timeline without the others. The sound stays whole."


def look() -> gr.themes.Base:
    """A theme with the fonts of the system: nothing is fetched from elsewhere."""
    theme = gr.themes.Default(
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
    )
    # By default the explanations are too pale to be read on white.
    return theme.set(block_info_text_color="*neutral_500")


def build_page(service: PredictionService, threshold: float) -> gr.Blocks:
    """Build the page.

    Args:
        service: that does the work.
        threshold: of the score, at first.
    """
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                video = gr.Video(
                    label=f"Video, {service.limits}", sources=["upload", "webcam"], include_audio=True,
                    webcam_options=gr.WebcamOptions(mirror=False), elem_id="video", buttons=[],
                )  # fmt: skip
                names = list(service.weights.files)
                weights = gr.Dropdown(names, value=names[0], label="Weights", filterable=len(names) > 9)
                slider = gr.Slider(0, 1, threshold, step=0.01, label="Score threshold", elem_id="threshold")
                with gr.Row():
                    start = gr.Button(
                        "Find what sounds", variant="primary", scale=2, min_width=160, elem_id="start"
                    )
                    stop = gr.Button("Stop", scale=1, min_width=80, elem_id="stop")
            with gr.Column(scale=3, min_width=320):
                status = gr.Markdown("Drop a video, or record one. Then find what sounds.", elem_id="status")
                with gr.Column(visible=False, elem_id="results") as results:
                    overlay = gr.Video(
                        label="Overlay", show_label=False, interactive=False, elem_id="overlay", buttons=[]
                    )
                    solo = gr.Radio(
                        [ALL_TRACKS], value=ALL_TRACKS, label="Show", info=SOLO_INFO, elem_id="solo"
                    )
                    timeline = gr.Image(
                        label="Timeline", show_label=False, interactive=False, type="filepath", buttons=[],
                        elem_id="timeline",
                    )  # fmt: skip
                    table = gr.Dataframe(
                        headers=list(COLUMNS), column_widths=WIDTHS, interactive=False, wrap=True,
                        label="Tracks", buttons=[], elem_id="tracks",
                    )  # fmt: skip
                    with gr.Row():
                        downloads = [
                            gr.DownloadButton(label, min_width=120, elem_id=f"get-{label.split()[-1]}")
                            for label in ("Overlay mp4", "Tracks json", "Table csv", "Masks zip")
                        ]
        shown = [status, results, overlay, solo, timeline, table, *downloads]
        work = {"outputs": shown, "show_progress_on": [status], "api_visibility": "private"}
        events = _Events(service)
        page.unload(events.close)
        video.input(events.look_at, [video], [status], show_progress="hidden", api_visibility="private")
        # One model at a time; drawing waits for another drawing, not for a model.
        model = {"concurrency_limit": 1, "concurrency_id": "model", **work}
        drawing = {"concurrency_limit": 1, "concurrency_id": "drawing", **work}
        running = [
            start.click(events.predict, [video, weights, slider], **model),
            slider.release(events.show, [slider, solo], **drawing),
            solo.input(events.show, [slider, solo], **drawing),
            table.select(events.select, [slider], **drawing),
        ]
        stop.click(events.stop, cancels=running, queue=False, api_visibility="private")
    return page.queue(max_size=32)


class _Events:
    """What happens on each event of the page."""

    def __init__(self, service: PredictionService) -> None:
        self._service = service

    def look_at(self, video: str | None, request: gr.Request) -> str:
        with _refusals_shown():
            return self._service.look_at(request.session_hash, video)

    def predict(
        self,
        video: str | None,
        weights: str,
        threshold: float,
        request: gr.Request,
        progress=gr.Progress(),  # noqa: B008
    ) -> list:
        with _refusals_shown():
            return _updates(
                self._service.predict(request.session_hash, video, weights, threshold, _to(progress))
            )

    def show(self, threshold: float, choice: str, request: gr.Request, progress=gr.Progress()) -> list:  # noqa: B008
        if not self._service.has_result(request.session_hash):
            return [gr.skip() for _ in range(10)]
        with _refusals_shown():
            return _updates(self._service.show(request.session_hash, threshold, choice, _to(progress)))

    def select(
        self,
        threshold: float,
        event: gr.SelectData,
        request: gr.Request,
        progress=gr.Progress(),  # noqa: B008
    ) -> list:
        """Show the track of the row alone."""
        number, category = event.row_value[:2]
        return self.show(threshold, f"{number} {category}", request, progress)

    def stop(self, request: gr.Request) -> None:
        self._service.workspace.stop(request.session_hash)

    def close(self, request: gr.Request) -> None:
        self._service.workspace.close(request.session_hash)


@contextmanager
def _refusals_shown() -> Iterator[None]:
    """Show the sentence of a refusal in the page."""
    try:
        yield
    except Refused as refused:
        raise gr.Error(str(refused), title="Sorry", print_exception=False) from None


def _to(progress: gr.Progress) -> Report:
    return lambda doing, share: progress(share, desc=doing)


def _updates(view: View) -> list:
    """The new values of the components, in the order in which `build_page` lists them."""
    return [
        view.status,
        gr.Column(visible=True),
        str(view.overlay),
        gr.Radio(view.choices, value=view.choice),
        gr.Image(None if view.timeline is None else str(view.timeline), visible=view.timeline is not None),
        gr.Dataframe(view.rows, visible=bool(view.rows)),
        *(str(path) for path in (view.overlay, *view.files)),
    ]
