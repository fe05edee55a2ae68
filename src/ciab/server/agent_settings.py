"""`[agents]`: which coding agents may be used, and how each is started."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

EnvName = Annotated[str, Field(pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$")]

_BINARY = "The agent's program on the machine, by name or path."
_API_KEY_ENV = "Environment variable of the server that holds the model's key; empty: none."


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, validate_by_name=True)


class CommandSettings(_Settings):
    """A machine without an agent of ours: a turn runs the user's own program."""

    enabled: bool = Field(default=True, description="Whether sandboxes may be made for it.")


class AgentSettings(_Settings):
    """What every agent's table has."""

    enabled: bool = Field(default=True, description="Whether sandboxes may be made for it.")
    binary: Annotated[str, Field(min_length=1)]
    version: Annotated[str, Field(pattern=r"^\S*$")] = Field(
        default="",
        description="Version to install; empty: the one that this release of CIAB was tested with.",
    )
    default_model: Annotated[str, Field(pattern=r"^\S*$")] = Field(
        default="", description="Model of sessions that name none; empty: the agent's own choice."
    )
    api_key_env: EnvName


class ClaudeCodeSettings(AgentSettings):
    """Claude Code."""

    binary: Annotated[str, Field(min_length=1)] = Field(default="claude", description=_BINARY)
    api_key_env: EnvName = Field(default="ANTHROPIC_API_KEY", description=_API_KEY_ENV)


class CodexSettings(AgentSettings):
    """Codex."""

    binary: Annotated[str, Field(min_length=1)] = Field(default="codex", description=_BINARY)
    api_key_env: EnvName = Field(default="OPENAI_API_KEY", description=_API_KEY_ENV)


class GeminiSettings(AgentSettings):
    """Gemini CLI."""

    binary: Annotated[str, Field(min_length=1)] = Field(default="gemini", description=_BINARY)
    api_key_env: EnvName = Field(default="GEMINI_API_KEY", description=_API_KEY_ENV)


class CursorSettings(AgentSettings):
    """Cursor CLI."""

    binary: Annotated[str, Field(min_length=1)] = Field(default="cursor-agent", description=_BINARY)
    api_key_env: EnvName = Field(default="CURSOR_API_KEY", description=_API_KEY_ENV)


class ProvidersSettings(_Settings):
    """One table for each provider, under its own name."""

    claude_code: ClaudeCodeSettings = Field(default=ClaudeCodeSettings(), alias="claude-code")
    codex: CodexSettings = CodexSettings()
    gemini: GeminiSettings = GeminiSettings()
    cursor: CursorSettings = CursorSettings()
    command: CommandSettings = CommandSettings()

    def by_name(self) -> dict[str, AgentSettings | CommandSettings]:
        """Every provider's settings under the name that users write."""
        return {field.alias or name: getattr(self, name) for name, field in type(self).model_fields.items()}


class AgentsSettings(_Settings):
    """The coding agents."""

    default_provider: str = Field(default="claude-code", description="Provider of sandboxes that name none.")
    providers: ProvidersSettings = ProvidersSettings()

    @model_validator(mode="after")
    def _default_may_be_used(self) -> "AgentsSettings":
        providers = self.providers.by_name()
        if self.default_provider not in providers:
            raise ValueError(f"default_provider must be one of {', '.join(providers)}")
        if not providers[self.default_provider].enabled:
            raise ValueError(
                f'default_provider = "{self.default_provider}" is a provider that is not enabled'
            )
        return self
