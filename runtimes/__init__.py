"""One file a runtime, behind the contract of `base`; the pipeline that chains stages is shared."""
