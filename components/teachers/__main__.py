"""`python -m components.teachers`: let teachers score the positives and negatives of a data set."""

from __future__ import annotations

import shlex

from components.command_line import main, step_command
from sharpen.settings import EncoderSettings
from sharpen.teachers.settings import TeacherAddresses, TeacherSettings


def _score(addresses: TeacherAddresses, settings: TeacherSettings, encoder: EncoderSettings) -> None:
    settings.check_teachers("--")
    from sharpen.teachers.score import score_by_teachers

    score_by_teachers(addresses.data, addresses.negatives, addresses.output, settings, encoder)
    data, scored = shlex.quote(addresses.data), shlex.quote(addresses.output)
    print(
        f"next: python -m components.finetuning --data {data} --negatives {scored} --knowledge_distillation true "
        "--model MODEL --output FOLDER"
    )


command = step_command(
    "teachers",
    "Let a cross-encoder, a larger embedding model or a language model score the positives and negatives of a data "
    "set, to be learned from, and leave out negatives that they take for relevant.",
    [TeacherAddresses, TeacherSettings, EncoderSettings],
    _score,
)

if __name__ == "__main__":
    main(command)
