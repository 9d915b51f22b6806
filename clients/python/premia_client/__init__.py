"""Typed client of the Premia quote service."""

from premia_client import models
from premia_client.client import AsyncClient, Client
from premia_client.errors import ConnectionFailed, PremiaError, Problem, ServiceBusy
from premia_client.verify import is_genuine

__all__ = [
    "AsyncClient",
    "Client",
    "ConnectionFailed",
    "PremiaError",
    "Problem",
    "ServiceBusy",
    "is_genuine",
    "models",
]
