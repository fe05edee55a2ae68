"""The names of all fields that requests know: to guess what an unknown one was meant to be."""

from ciab.schema.access import SshAccessRequest
from ciab.schema.exec import ExecRequest
from ciab.schema.reaper import GcRequest
from ciab.schema.sandboxes import RecoverRequest
from ciab.schema.spec import AgentConfig, Ec2Spec, GitRepo, McpServer, SandboxSpec

_REQUESTS = (
    *(SandboxSpec, GitRepo, Ec2Spec, AgentConfig, McpServer),
    *(ExecRequest, SshAccessRequest, RecoverRequest, GcRequest),
)

FIELD_NAMES = sorted({name for model in _REQUESTS for name in model.model_fields})
