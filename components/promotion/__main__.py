"""The promotion step from a shell: ``python -m components.promotion --help``."""

from __future__ import annotations

from components.core.command import main, step_command
from components.promotion.settings import PromotionAddresses, PromotionSettings


def call(addresses: PromotionAddresses, settings: PromotionSettings) -> None:
    """Decide, say why, and promote unless the gate says no (exit code 3)."""
    from components.promotion.promote import judge, promote

    decision, _ = judge(addresses.evaluation, settings)
    print("\n".join([f"{decision.verdict}:", *(f"  {reason}" for reason in decision.reasons)]))
    address = promote(addresses.model, addresses.evaluation, addresses.model_name, addresses.registry, settings)
    print(f"champion: {address}" if address else "dry run: nothing was promoted")


command = step_command(
    "promotion",
    "Let the gate decide about an evaluated model; if it passes, register it and make it the champion.",
    [PromotionAddresses, PromotionSettings],
    call,
)

if __name__ == "__main__":
    main(command)
