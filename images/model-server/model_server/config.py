# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What to serve, from a ModelServerConfig in protobuf's text format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


class ConfigError(Exception):
    """The configuration cannot be used."""


@dataclass(frozen=True)
class Policy:
    """Which versions are wanted: the newest so many, all where that is None, or the `specific` ones."""

    latest: int | None = 1
    specific: tuple[int, ...] = ()

    def wanted(self, present: Iterable[int]) -> set[int]:
        if self.specific:
            return set(self.specific) & set(present)
        newest = sorted(present, reverse=True)
        return set(newest if self.latest is None else newest[: self.latest])


@dataclass(frozen=True)
class ModelConfig:
    name: str
    base_path: Path
    policy: Policy = Policy()
    labels: Mapping[str, int] = field(default_factory=dict)


def read_config(text: str) -> list[ModelConfig]:
    # Imported here: the rest of this package can be tested without the stubs.
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    message = model_server_config_pb2.ModelServerConfig()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise ConfigError(str(error)) from error
    models = []
    for entry in message.model_config_list.config:
        if not entry.name or not entry.base_path:
            raise ConfigError(
                f"a model needs a name and a base_path: {text_format.MessageToString(entry, as_one_line=True)}"
            )
        if entry.model_platform not in ("", "tensorflow"):
            raise ConfigError(
                f"{entry.name}: the model_platform '{entry.model_platform}' is not served, only tensorflow"
            )
        choice = entry.model_version_policy.WhichOneof("policy_choice")
        if choice == "all":
            policy = Policy(latest=None)
        elif choice == "specific":
            policy = Policy(specific=tuple(entry.model_version_policy.specific.versions))
        else:
            policy = Policy(latest=max(entry.model_version_policy.latest.num_versions, 1))
        models.append(ModelConfig(entry.name, Path(entry.base_path), policy, dict(entry.version_labels)))
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        raise ConfigError(f"a name is given twice among {', '.join(names)}")
    return models
