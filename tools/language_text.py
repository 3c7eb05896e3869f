"""The sentences of the pages that language_pages.py writes; what is in braces differs."""

ABOUT = """\
# Languages

{mark}

The catalogue has {languages} and {triples} of public models. A triple is a **base** model, the
same base trained further on text in the language (**CT**), and the same base trained on English
instructions (**SFT**). slack-ties merges them into one model for the language. The page of a
language says which models there are, how large they are, under which licence, and what to type.

**Nobody has merged and evaluated these models with slack-ties yet.** Sizes, gates and licences
are what the models' pages said when we read them; each page names its sources, and what is not
verified. `slack-ties plan` asks the Hub again before anything is downloaded.

The columns after the number of triples describe the triple that needs least: without a gate if
there is one, and then the smallest. **Gate**: on the page of a model, you must ask for access
before you can download it. **Not known**: we did not see it stated.

| Language | In itself | Triples | Download | Gate | Licence of the result |
| --- | --- | ---: | ---: | --- | --- |
"""

NOT_HERE = """
## Your language is not here

If the language has a CT model, give it and its base to `slack-ties run` ([your own
models](../models.md)). Models that are missing here are welcome: [how to add a
language](../../CONTRIBUTING.md#usual-changes). `slack-ties languages` shows the table of all
triples in the terminal.
"""

WHAT = """
Three public models are merged into one that is meant to follow instructions in {name}: a
**base**, the same base trained further on text in {name} (**CT**), and the same base trained on
English instructions (**SFT**). The catalogue has {triples} of such models. **Nobody has merged
and evaluated them with slack-ties yet.**
"""

OVERVIEW = """
## Which models exist

| Key | Base | Download | Result | Licence of the result | Gate |
| --- | --- | ---: | ---: | --- | --- |
"""

TERMS = """
**Gate**: you must ask for access on the page of a model before you can download it. **Not
known**, **not seen**: we did not see it stated. The licence of the result follows from those of
the models ([how](../licenses.md)); this is not legal advice.
"""

MERGE = """
## Merge them

These commands are for the triple that needs least, `{key}`.{other} [Install
slack-ties](../requirements.md#install) first. `ME` is your user name on the Hub; to publish, log
in with `hf auth login`.
"""

ACCESS = """
Before you begin, ask for access on the page of {models}, then log in with `hf auth login`.
"""

UNKNOWN_GATE = """
It is not known whether {models} has a gate. `slack-ties plan` finds out, and says where to ask
for access.
"""

NO_LICENSE = """
**The licence of the result is not known**, because we did not see the licence of {models}. Look
at its page, and ask its authors. When you publish, you state the licence of the result in the
place of `ID`: the other models alone would lead to `{license}`.
"""

COMMANDS = """
```sh
# Write the merge config, and see what the merge would do
slack-ties config {key}
slack-ties plan merge_configs/{key}.yml
# Download {download}, merge, write the model card
slack-ties run merge_configs/{key}.yml --out {out}
# See what the merge keeps, and ask all four models something
slack-ties report {out}
slack-ties try {out} 'a question in {name}'
# See what would be sent, then publish; add --public if all may see it
slack-ties publish {out} {repo}{license} --dry-run
slack-ties publish {out} {repo}{license}
```

No room for {download} on your disk? One command reads the models from the Hub while it merges them,
and keeps no weights here ([merge without download](../no-download.md)):

```sh
slack-ties run {key} --out {out}-small --publish {repo}-Small{license} --stream --no-download
```
"""

EVALUATE = """
## Evaluate the result

`evaluate` scores the merged model beside the three models that it was made from. It needs
`pip install "slack-ties[eval]"`.

```sh
slack-ties evaluate {out} --limit 100
slack-ties evaluate {out}
```

The first command takes 100 items of each task, for a first look. The second takes all:

| Task | In | Items | Note |
| --- | --- | ---: | --- |
"""
