"""Where the Kubeflow Pipelines API is, and who calls it. Secrets come from the environment only."""

from __future__ import annotations

import os
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic.fields import FieldInfo

from sharpen.errors import InputError
from sharpen.settings import SettingsModel

_NAMESPACE = r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$"


def _from(variable: str) -> dict[str, Any]:
    return {"variable": variable}


class ConnectionSettings(SettingsModel):
    """The backend's address and the credentials for it."""

    endpoint: str = Field(
        "",
        json_schema_extra=_from("KFP_ENDPOINT"),
        description="Address of the Kubeflow Pipelines API or of Kubeflow's pages, such as http://localhost:8080 of a "
        "kubectl port-forward. Empty in a pod: the cluster's own.",
    )
    namespace: str = Field(
        "",
        pattern=_NAMESPACE,
        json_schema_extra=_from("KFP_NAMESPACE"),
        description="Your namespace, where Kubeflow serves several users. Empty in a pod: the pod's.",
    )
    ui: str = Field(
        "",
        json_schema_extra=_from("KFP_UI_ENDPOINT"),
        description="Address of Kubeflow's pages, for links. Empty: the endpoint, if it serves them.",
    )
    ca_cert: str = Field(
        "",
        json_schema_extra=_from("KFP_CA_CERT"),
        description="File with the certificate authority that signed the endpoint's certificate. Empty: public ones.",
    )
    token: SecretStr = Field(
        SecretStr(""), json_schema_extra=_from("KFP_TOKEN"), description="Bearer token; from the environment only."
    )
    token_file: str = Field(
        "",
        json_schema_extra=_from("KFP_TOKEN_FILE"),
        description="File with a bearer token, read anew for every call.",
    )
    cookies: SecretStr = Field(
        SecretStr(""),
        json_schema_extra=_from("KFP_COOKIES"),
        description="Session cookies as a browser sends them, name=value; from the environment only.",
    )
    username: str = Field("", json_schema_extra=_from("KFP_USERNAME"), description="Name for Dex's login form.")
    password: SecretStr = Field(
        SecretStr(""),
        json_schema_extra=_from("KFP_PASSWORD"),
        description="Password for Dex's login form; from the environment only.",
    )
    dex_connector: str = Field(
        "local",
        pattern=r"^[A-Za-z0-9_.-]+$",
        json_schema_extra=_from("KFP_DEX_CONNECTOR"),
        description="Which of Dex's ways to log in, such as local or ldap.",
    )

    @field_validator("endpoint", "ui")
    @classmethod
    def _address(cls, value: str) -> str:
        if not value:
            return value
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("write the whole address, such as http://localhost:8080 or https://kubeflow.example.org")
        return value.split("#")[0].rstrip("/")

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        if bool(self.username) != bool(self.password.get_secret_value()):
            raise ValueError("KFP_USERNAME and KFP_PASSWORD: set both or neither")
        if len(self.proofs) > 1:
            raise ValueError(f"{' and '.join(self.proofs)} are set; leave only one way to sign in")
        return self

    @property
    def proofs(self) -> list[str]:
        """The environment variables that give credentials."""
        given = {
            "KFP_TOKEN": self.token.get_secret_value(),
            "KFP_TOKEN_FILE": self.token_file,
            "KFP_COOKIES": self.cookies.get_secret_value(),
            "KFP_USERNAME": self.username,
        }
        return [name for name, value in given.items() if value]

    @classmethod
    def given(cls, **options: str) -> Self:
        """The settings from command-line options, and from the environment where no option was given.

        Raises:
            InputError: an address without http or with a password, a half-set or doubled way to sign in.
        """
        values = {name: os.environ.get(variable(field), "").strip() for name, field in cls.model_fields.items()}
        values |= {name: value for name, value in options.items() if value}
        for name in ("endpoint", "ui"):
            if "@" in values[name].partition("//")[2].partition("/")[0]:
                # told here, since a model's fault repeats the value
                raise InputError(f"{name}: no name or password in an address; set KFP_USERNAME and KFP_PASSWORD")
        return cls.checked({name: value for name, value in values.items() if value})


def variable(field: FieldInfo) -> str:
    """The environment variable of a connection setting."""
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    return str(extra["variable"])


#: what may be given on the command line, where other users of a machine can read it
OPTIONS = ("endpoint", "namespace", "ui", "ca_cert")
