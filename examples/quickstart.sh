#!/usr/bin/env bash
# The whole way in one command: install, export the model that ships with the project, bench it.
#
#   bash examples/quickstart.sh
#
# About ten minutes on two cores; needs about 3 GB of disk. What it makes lies in .venv/ and bundles/.
set -euo pipefail
cd "$(dirname "$0")/.."
bash examples/install.sh export,cpu
.venv/bin/trbert-deploy export trbert-minilm-imdb --out bundles/quickstart --with-dense --force
.venv/bin/trbert-deploy bench bundles/quickstart
