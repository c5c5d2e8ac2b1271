"""Captions of generated images: what state the thing is in, what it is, sometimes its colour and its defect."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.random import Generator

NORMAL_WORDS = ("normal", "flawless", "perfect", "unblemished", "good", "intact", "clean", "undamaged")
NORMAL_TAILS = ("without flaw", "without defect", "without damage", "in good condition")
ABNORMAL_WORDS = ("damaged", "defective", "anomalous", "abnormal", "flawed", "imperfect", "faulty", "blemished")
ABNORMAL_TAILS = ("with a flaw", "with a defect", "with damage", "with an anomaly")
MEDICAL_NORMAL, MEDICAL_ABNORMAL = ("healthy", "normal"), ("unhealthy", "diseased", "abnormal")

FRAMES = (
    "{}",
    "a {}",
    "a photo of a {}",
    "a photo of the {}",
    "a close-up photo of a {}",
    "a cropped photo of the {}",
    "a bright photo of a {}",
    "a dark photo of the {}",
    "a blurry photo of a {}",
    "this is a {}",
    "there is a {} in the scene",
)

DEFECT_PHRASES = {
    "hole": ("with a hole", "with a puncture"),
    "scratch": ("with a scratch", "that is scratched"),
    "stain": ("with a stain", "with a dirty spot"),
    "discoloration": ("with a discoloration", "with a faded patch"),
    "missing": ("with a missing part", "that is incomplete"),
    "cut": ("with a cut", "that is cut"),
    "contamination": ("with contamination", "with foreign particles"),
    "scramble": ("with a misplaced part", "with a wrong pattern"),
    "lesion": ("with a lesion", "with an abnormal spot"),
}

# Words that name things the renderers never draw: they teach the text tower that the state words carry the
# meaning whatever noun stands beside them. None of them is a category of a target dataset.
FOREIGN_NOUNS = (
    "chair", "spoon", "lamp", "basket", "bracket", "ribbon", "ladder", "helmet", "sponge", "violin", "pillow",
    "hammer", "teapot", "saddle", "mirror", "anchor", "wallet", "compass", "kettle", "brush", "tray", "vase",
)  # fmt: skip


@dataclass(frozen=True)
class Caption:
    """A text and what it commits to; None where it leaves something open."""

    text: str
    anomalous: bool
    noun: str | None
    colour: str | None
    defect: str | None

    def fits(self, name: str, anomalous: bool, colour: str, defect: str) -> bool:
        """True when the text would be a correct description of such an image."""
        return (
            self.anomalous == anomalous
            and self.noun in (None, name)
            and self.colour in (None, colour)
            and self.defect in (None, defect)
        )


def draw_noun(rng: Generator, name: str, prompt_name: str) -> tuple[str, str | None]:
    """The noun to write, and the class it commits to: 55 % the class, 30 % `object`, 15 % a foreign word."""
    chance = rng.random()
    if chance < 0.55:
        return prompt_name, name
    if chance < 0.85:
        return "object", None
    return FOREIGN_NOUNS[rng.integers(len(FOREIGN_NOUNS))], None


def draw_caption(
    rng: Generator,
    noun: tuple[str, str | None],
    *,
    anomalous: bool,
    medical: bool,
    colour: str = "",
    defect: str = "",
    named: float = 0.4,
) -> Caption:
    """One caption in the given state. `named`: chance that an anomalous one names its defect."""
    word, commits = noun
    said_colour = colour if colour and rng.random() < 0.25 else None
    phrase = f"{said_colour} {word}" if said_colour else word
    said_defect = None
    if anomalous and defect in DEFECT_PHRASES and rng.random() < named:
        said_defect, phrases = defect, DEFECT_PHRASES[defect]
        phrase = f"{phrase} {phrases[rng.integers(len(phrases))]}"
    else:
        phrase = _with_state(rng, phrase, anomalous, medical)
    text = FRAMES[rng.integers(len(FRAMES))].format(phrase)
    if rng.random() < 0.3:
        text += "."
    return Caption(text, anomalous, commits, said_colour, said_defect)


def _with_state(rng: Generator, phrase: str, anomalous: bool, medical: bool) -> str:
    if not anomalous and rng.random() < 0.25:
        return phrase  # a bare name means a normal thing
    words, tails = (ABNORMAL_WORDS, ABNORMAL_TAILS) if anomalous else (NORMAL_WORDS, NORMAL_TAILS)
    if medical and rng.random() < 0.5:
        words = MEDICAL_ABNORMAL if anomalous else MEDICAL_NORMAL
    elif rng.random() < 0.3:
        return f"{phrase} {tails[rng.integers(len(tails))]}"
    return f"{words[rng.integers(len(words))]} {phrase}"
