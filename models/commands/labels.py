"""Which labels a conversion model was judged by: one word, the same in `train`, `show`, `registry` and `evaluate`.

| word | labels | judged by |
|---|---|---|
| complete | all that there are: nothing is known of late conversions | the probability |
| interim | all clicks, with the conversions known so far | the probability of being known by now |
| settled | clicks watched for as long as conversions may take | the probability |
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.artifact import ModelBundle
    from models.evaluate import Metrics

_SAID = {
    "interim": "interim: all clicks with the conversions known so far, against the probability of being known by now",
    "settled": "settled: clicks watched for as long as conversions may take, against the probability itself, as "
    "`evaluate` judges",
}


def label_word(bundle: "ModelBundle") -> str:
    """Of the conversion model in a bundle's own report."""
    training = bundle.manifest.training
    if not training or training.delay.method == "none":
        return "complete"
    return "settled" if "recalibration" in bundle.manifest.params else "interim"


def labels_said(bundle: "ModelBundle") -> str:
    """What the words in the rows of a report mean, to follow a caption; nothing where all labels are complete."""
    word = label_word(bundle)
    said = {"complete": [], "interim": ["interim", "settled"], "settled": ["settled"]}[word]
    return "".join(f"; {_SAID[each]}" for each in said)


def rows_shown(bundle: "ModelBundle") -> "Iterator[tuple[str, Metrics]]":
    """Name and metrics of each row of a report."""
    word = label_word(bundle)
    for name, report in bundle.manifest.models.items():
        end = f" {word}" if name == "cvr" and word != "complete" else ""
        if report.kind != "mean":  # one rate has no scores of its own
            yield f"{name} raw{end}", report.before
        yield f"{name} {'mean' if report.kind == 'mean' else report.calibration}{end}", report.after
        if report.settled:
            yield f"{name} {report.calibration} settled", report.settled
