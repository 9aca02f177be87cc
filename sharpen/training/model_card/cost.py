"""What a training used: hours of its devices, and their energy, emissions and price where the user states the rates."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from sharpen.settings import SettingsModel

FORMULA = "hours x devices x power / 1000 kWh, x carbon_intensity g CO2e per kWh"
SOURCE = "Lacoste et al. 2019, Quantifying the Carbon Emissions of Machine Learning, arXiv:1910.09700"


class CostSettings(SettingsModel):
    """Rates for the model card; nothing else depends on them."""

    power_watts: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="Power that a process and its device draw, with their share of cooling; for the model card.",
    )
    carbon_intensity: float | None = Field(
        None,
        ge=0,
        le=5000,
        description="Grams of CO2 equivalent a kWh of your grid; for the model card, with power_watts.",
    )
    cost_per_hour: float | None = Field(
        None, ge=0, le=1e6, description="Price of an hour of a process and its device; for the model card."
    )


def training_cost(seconds: float, devices: int, settings: CostSettings) -> dict[str, float | None]:
    """Device hours, energy (kWh), emissions (g CO2e) and price of a training; None where a rate is not stated.

    Args:
        seconds: that it took.
        devices: processes, each with its device, that it ran on.
        settings: the rates.
    """
    hours = seconds / 3600 * devices
    energy = None if settings.power_watts is None else hours * settings.power_watts / 1000
    emissions = None
    if energy is not None and settings.carbon_intensity is not None:
        emissions = energy * settings.carbon_intensity
    price = None if settings.cost_per_hour is None else hours * settings.cost_per_hour
    return {"device_hours": hours, "energy_kwh": energy, "emissions_g": emissions, "price": price}


def cost_lines(cost: dict[str, float | None], devices: int, device: str) -> list[str]:
    """What a training used, in words, a line each, with what is not stated and how the figures come about.

    Args:
        cost: as `training_cost` gives it.
        devices, device: processes, and the kind of their device.
    """

    def stated(value: float | None, unit: str, setting: str) -> str:
        return f"not stated (set training.{setting})" if value is None else f"{value:.4g}{unit}"

    hours = cost["device_hours"] or 0.0
    return [
        f"Time: {hours:.4g} device hours on {devices} {device} process{'es' if devices > 1 else ''}; of this training "
        "alone, without data preparation, mining and evaluation.",
        f"Energy: {stated(cost['energy_kwh'], ' kWh', 'power_watts')}.",
        f"Emissions: {stated(cost['emissions_g'], ' g CO2e', 'power_watts and training.carbon_intensity')}.",
        f"Cost: {stated(cost['price'], ' in the currency of cost_per_hour', 'cost_per_hour')}.",
        f"Formula: {FORMULA} ({SOURCE}).",
    ]


def card_emissions(cost: dict[str, float | None], device: str) -> dict[str, Any]:
    """``co2_eq_emissions`` of a model card's metadata; empty where emissions are not known."""
    if cost["emissions_g"] is None:
        return {}
    return {
        "co2_eq_emissions": {
            "emissions": round(cost["emissions_g"], 3),
            "source": f"{FORMULA}; {SOURCE}",
            "training_type": "fine-tuning",
            "hardware_used": device,
        }
    }
