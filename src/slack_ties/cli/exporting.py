"""The command `export`."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path

import click

from slack_ties.cli.group import PATH, cli, print_json, say
from slack_ties.cli.options import with_output
from slack_ties.cli.program import say_next

__all__: list[str] = []


@cli.command(short_help="Write GGUF files for a laptop.")
@click.argument("out", type=PATH)
@click.option(
    "--gguf",
    "types",
    multiple=True,
    default=("Q4_K_M",),
    show_default="Q4_K_M",
    metavar="TYPE",
    help="Type of the GGUF file: Q4_K_M, Q8_0, BF16 or another one that llama-quantize lists. May "
    "be repeated; the Modelfile names the first.",
)
@click.option(
    *("-o", "--output"), type=PATH, metavar="FOLDER", help="The new folder.  [OUT with -gguf]"
)
@click.option(
    "--llama-cpp",
    type=PATH,
    metavar="FOLDER",
    help="A source tree or a release of llama.cpp; what it lacks is looked for on PATH.  [PATH]",
)
@click.option(
    "--base-model",
    metavar="OWNER/NAME",
    default="",
    help="Hub id of the merged model, for the card of the GGUF files.  [the id in OUT's card]",
)
@with_output
def export(  # noqa: PLR0913 - one per option
    *,
    out: Path,
    types: tuple[str, ...],
    output: Path | None,
    llama_cpp: Path | None,
    base_model: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write GGUF files of the merged model OUT, for llama.cpp and Ollama.

    llama.cpp's own converter and quantizer make them: convert_hf_to_gguf.py and llama-quantize,
    which you install yourself. Beside the files are a Modelfile for Ollama with the model's chat
    template and licence, and a model card for the Hub. A model that needs code of its own is
    refused, because the converter would run that code.

    \b
    Examples:
      slack-ties export tibetan
      slack-ties export tibetan --gguf Q4_K_M --gguf Q8_0 --llama-cpp llama.cpp
      slack-ties export tibetan --base-model ME/Llama-2-7b-Tibetan -o Llama-2-7b-Tibetan-GGUF
    """
    say(quiet=quiet)

    from slack_ties.exporting.export import export_model  # noqa: PLC0415 - heavy

    done = export_model(
        out, types, output=output, llama_cpp=llama_cpp, base_model=base_model, quiet=quiet
    )
    if as_json:
        print_json(asdict(done))
        return
    click.echo(done.as_text())
    if quiet:
        return
    if not done.base_model:
        text = "The card names no model of the Hub: give --base-model OWNER/NAME for that."
        click.echo(f"\n{text}", err=True)
    first = done.files[0]
    name = first.name.removesuffix(f"-{first.type}.gguf").lower()
    file = shlex.quote(str(Path(done.folder, "Modelfile")))
    say_next(f"ollama create {name} -f {file}")
    hub = f"{done.base_model or 'OWNER/NAME'}-GGUF"
    click.echo(f"  or: hf upload {hub} {shlex.quote(done.folder)} . --private", err=True)
