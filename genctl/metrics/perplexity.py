"""exp of the nats per symbol of held-out text: how many symbols the model hesitates between. It compares only where symbols are the same."""

from genctl.metrics import Case, Score, nll

NEEDS = nll.NEEDS
EXTRACTOR = ""
HIGHER = False


def measure(case: Case) -> Score:
    return nll.per(case, "perplexity", lambda fields: fields["perplexity"] * fields["nats_per_token_se"])
