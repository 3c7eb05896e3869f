"""The texts beside a GGUF file: a Modelfile for Ollama, and a model card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from slack_ties.card.metadata import metadata_problems
from slack_ties.errors import OutputError
from slack_ties.models.front_matter import texts_of
from slack_ties.wording import size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slack_ties.exporting.template import GoTemplate
    from slack_ties.exporting.whole_model import WholeModel

__all__ = ["MODELFILE", "File", "gguf_card", "modelfile"]

MODELFILE = "Modelfile"

# The first Ollama that applies the chat template in a GGUF file: its commit 9db4bdbad.
READS_TEMPLATE = "0.30.0"

MARK = '"""'

LOSS = (
    "The weights are quantized: they are rounded to fewer bits, so the answers differ from those "
    "of that model. **Nobody has evaluated these files**: the scores in its card were measured "
    "with the whole weights."
)


@dataclass(frozen=True)
class File:
    """A GGUF file."""

    name: str
    type: str  # such as Q4_K_M
    size: int  # bytes
    sha256: str


def modelfile(
    model: WholeModel, file: str, template: GoTemplate | None, stops: Sequence[str]
) -> str:
    """Return the text of a Modelfile.

    Args:
        model: The model that was exported.
        file: The name of the GGUF file beside it.
        template: The model's chat template for Ollama; None if there is none.
        stops: Texts at which an answer ends.

    """
    languages = ", ".join(texts_of(model.metadata.get("language"))[0])
    lines = [
        f"# {model.base_model or model.name}" + (f", languages: {languages}" * bool(languages))
    ]
    lines.append(f"FROM ./{file}")
    if template:
        lines.append(f"TEMPLATE {MARK}{template.as_text()}{MARK}")
    elif model.chat:
        lines += ["# Ollama applies the chat template that is in the GGUF file."]
        lines.append(f"REQUIRES {READS_TEMPLATE}")
    else:
        lines += ["# The model has no chat template: it continues the text that it is given."]
        lines.append(f"TEMPLATE {MARK}{{{{ .Prompt }}}}{MARK}")
    lines += [f'PARAMETER stop "{text}"' for text in stops]
    for text in model.licenses.values():
        if text and MARK not in text:
            lines.append(f"LICENSE {MARK}\n{text.strip()}\n{MARK}")
    return "\n".join(lines) + "\n"


def gguf_card(model: WholeModel, files: Sequence[File], *, made_by: str, reads: bool) -> str:
    """Return the text of the card of the GGUF files.

    Args:
        model: The model that was exported.
        files: The GGUF files.
        made_by: The version of llama.cpp; empty if it is not known.
        reads: Whether Ollama must read the chat template from the file.

    Raises:
        OutputError: The Hub does not accept the licence or the language in the model's card.

    """
    data: dict[str, Any] = dict(model.metadata)
    if model.base_model:
        data |= {"base_model": [model.base_model], "base_model_relation": "quantized"}
    data |= {"pipeline_tag": "text-generation", "tags": ["gguf", "llama.cpp", "slack-ties"]}
    if problems := metadata_problems(data):
        msg = f"{model.folder / 'README.md'}: {'; '.join(problems)}"
        raise OutputError(msg, hint="correct the lines between the two --- of that file")
    front = yaml.safe_dump(data, sort_keys=False, allow_unicode=True).strip()
    link = f"[{model.base_model}](https://huggingface.co/{model.base_model})"
    of = link if model.base_model else "a merged model that is not on the Hub"
    llama = f"llama.cpp {made_by}" if made_by else "llama.cpp"
    shown = "".join(f"**{words}**\n\n" for words in model.display)
    rows = [f"| `{one.name}` | {one.type} | {size(one.size)} | `{one.sha256}` |" for one in files]
    plain = all(one.type == model.stored for one in files)
    loss = "The weights are those of that model." if plain else LOSS
    need = f"It needs Ollama {READS_TEMPLATE} or newer.\n\n" if reads else ""
    licenses = " and ".join(f"`{name}`" for name in model.licenses)
    texts = f" Its texts are in {licenses}." if licenses else ""
    return f"""---
{front}
---

# {model.name}, GGUF

{shown}GGUF files of {of}, for llama.cpp, Ollama and programs that use them.

{loss}

| File | Type | Size | SHA-256 |
| --- | --- | --- | --- |
{chr(10).join(rows)}

## How to use

With Ollama, in the folder of these files; the `{MODELFILE}` names `{files[0].name}`:

```sh
ollama create {model.name.lower()} -f {MODELFILE}
ollama run {model.name.lower()}
```

{need}With llama.cpp:

```sh
llama-cli -m {files[0].name}
```

## How it was made

The converter and the quantizer of {llama} made the files, called by `slack-ties export`.

## Licence

The licence is that of the model above.{texts} Its conditions apply to these files too.
"""
