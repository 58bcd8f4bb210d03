"""`python -m trbert_deploy`, for launchers that start modules."""

from trbert_deploy.cli.main import main

main()
