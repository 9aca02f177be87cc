"""Kubernetes' quantities as numbers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any


def quantity(text: Any) -> Decimal:
    """A quantity as a number: ``500m`` is 0.5, ``1Gi`` is 1073741824. Raises ValueError for what is none.

    https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
    """
    from kubernetes.utils.quantity import parse_quantity

    return Decimal(parse_quantity(text))
