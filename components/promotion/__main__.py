"""The promotion step from a shell: ``python -m components.promotion --help``."""

from __future__ import annotations

from components.command_line import main, step_command
from sharpen.registry.settings import PromotionAddresses, PromotionSettings


def call(addresses: PromotionAddresses, settings: PromotionSettings) -> None:
    """Decide, say why, and promote; exit code 3 when the gate says no or another version was promoted meanwhile."""
    from sharpen.errors import GateRejected, Overtaken
    from sharpen.registry.gate import PROMOTE, REJECT
    from sharpen.registry.promote import promote
    from sharpen.registry.run_record import WAITING
    from sharpen.terminal import printable

    name = addresses.model_name
    ended = promote(addresses.model, addresses.evaluation, name, addresses.registry, settings)
    print(printable("\n".join([f"{ended.verdict}:", *(f"  {reason}" for reason in ended.reasons)])))
    if ended.verdict == WAITING:
        number = ended.version.partition("?")[0].rpartition("/")[2]
        print(printable(f"next: sharpen models approve {name} {number} --store {addresses.registry}"))
        return
    if ended.verdict != PROMOTE:
        kind = GateRejected if ended.verdict == REJECT else Overtaken
        raise kind(f"{name}: not promoted: {'; '.join(ended.reasons)}")
    if ended.version:
        print(f"champion: {ended.champion}")


command = step_command(
    "promotion",
    "Let the gate decide about an evaluated model; if it passes, register it and make it the champion.",
    [PromotionAddresses, PromotionSettings],
    call,
)

if __name__ == "__main__":
    main(command)
