"""``backuplog agents`` and ``backuplog token``: who may send results, and with which credentials."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import click

from backuplog.agent import list_agents, register_agent
from backuplog.convert import converter
from backuplog.display import UNKNOWN, age, exact
from backuplog.model import AgentToken
from backuplog.token import issue_agent_token, list_agent_tokens, revoke_agent_token

from .filters import LengthOfTime
from .frame import ExitCode, Refusal, Target, store_options
from .output import Form, cell, counted, form_options, new_table, print_all, print_document, screen


@click.group(invoke_without_command=True)
@form_options
@store_options
@click.pass_context
def agents(ctx: click.Context, /, form: Form) -> None:
    """List the agents, or register one."""
    if ctx.invoked_subcommand is not None:
        return
    with ctx.obj.open() as store:
        known = sorted(list_agents(store), key=lambda agent: (agent.hostname or "", agent.id))
    if form != "table":
        print_all(form, "agents", map(_agent_document, known), total=len(known))
        return
    table = new_table("hostname", "id", "registered", flexible=("hostname",))
    for agent in known:
        table.add_row("", cell(agent.hostname or UNKNOWN), str(agent.id), exact(agent.registered_at))
    console = screen()
    if known:
        console.print(table)
    console.print(counted(len(known), "agent"))


@agents.command()
@click.argument("agent_id", metavar="[ID]", type=click.UUID, required=False)
@click.option("--hostname", help="Its hostname, for people to recognise it by.")
@form_options
@store_options
@click.pass_obj
def register(target: Target, /, form: Form, agent_id: UUID | None, hostname: str | None) -> None:
    """Register an agent, by its ID or a new one, and print the id. What is registered already may be said again."""
    with target.open(migrate=True) as store:
        agent = register_agent(store, agent_id or uuid4(), hostname=hostname)
    if form == "table":
        click.echo(str(agent.id))
    else:
        print_document(form, _agent_document(agent))


@click.group(short_help="Issue, list and revoke tokens.")
@store_options
def token() -> None:
    """Issue, list and revoke the tokens that agents send results with."""


@token.command()
@click.argument("agent_id", metavar="AGENT", type=click.UUID)
@click.option("--expires-in", type=LengthOfTime(), help="How long it is valid, such as 90d; by default for ever.")
@store_options
@click.pass_obj
def issue(target: Target, /, agent_id: UUID, expires_in: Any) -> None:
    """Issue a token to an agent and print it. It is stored nowhere: it cannot be shown again."""
    with target.open() as store:
        expires_at = None if expires_in is None else datetime.now(UTC) + expires_in
        click.echo(issue_agent_token(store, agent_id, expires_at=expires_at))


@token.command("list")
@click.argument("agent_id", metavar="AGENT", type=click.UUID)
@form_options
@store_options
@click.pass_obj
def list_tokens(target: Target, /, form: Form, agent_id: UUID) -> None:
    """List the tokens of an agent by their prefixes."""
    now = datetime.now(UTC)
    with target.open() as store:
        tokens = list_agent_tokens(store, agent_id)
    if form != "table":
        print_all(form, "tokens", map(_token_document, tokens), total=len(tokens))
        return
    table = new_table("prefix", "issued", "last used", "expires")
    for each in tokens:
        used = age(each.last_used_at, now) if each.last_used_at else "never"
        table.add_row(
            "", each.prefix, age(each.created_at, now), used, exact(each.expires_at) if each.expires_at else "never"
        )
    console = screen()
    if tokens:
        console.print(table)
    console.print(counted(len(tokens), "token"))


@token.command()
@click.argument("prefix", metavar="TOKEN")
@store_options
@click.pass_obj
def revoke(target: Target, /, prefix: str) -> None:
    """Revoke a token, by itself or by its prefix, so that nobody gets in with it any more."""
    with target.open() as store:
        if not revoke_agent_token(store, prefix):
            raise Refusal("there is no such token: see backuplog token list", ExitCode.MISSING)
    click.echo("revoked")


def _agent_document(agent: Any) -> dict[str, Any]:
    document: dict[str, Any] = converter.unstructure(agent)
    document.pop("tenant_id", None)
    return document


def _token_document(stored: AgentToken) -> dict[str, Any]:
    document: dict[str, Any] = converter.unstructure(stored)
    return {name: value for name, value in document.items() if name not in ("digest", "tenant_id")}
