"""SynthAVIS: a generated data set for audio-visual instance segmentation, in AVISeg's format on disk.

    from avis.synthetic import PRESETS, SynthOptions, make_synthavis
    make_synthavis("datasets/synthavis", PRESETS["quickstart"])
    make_synthavis(folder, SynthOptions(train=2, val=2, test=0, seconds=(4, 4), width=64, height=48, …))

`tools/make_synthetic.py` does the same from the command line. Textured objects of up to 26 classes move over
textured backgrounds, hide one another, leave the frame and come back; each class has its own timbre, and one
track holds all that is heard. Annotated is the visible mask of an object in the frames in which it sounds.

Neither sense is enough:

- An object that sounds shows it, by a bright rim and an open mouth, but so do decoys that make no sound: only
  hearing tells whether a class sounds at all.
- Of two objects of a class only one shows the sign while the class is heard, and a class may be heard from
  beyond the frame: only sight tells which object it is, if any.

`SynthOptions` says what makes a data set harder or easier.
"""

from avis.synthetic.options import PRESETS, SynthOptions
from avis.synthetic.writer import GENERATOR_VERSION, make_synthavis

__all__ = ["GENERATOR_VERSION", "PRESETS", "SynthOptions", "make_synthavis"]
