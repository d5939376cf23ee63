"""Bags of words: what a text is to a model that knows no order, the baseline of whatever reads texts.

Single words and pairs of them, weighted by how rare they are (Salton and Buckley 1988, https://doi.org/10.1016/0306-4573(88)90021-0); classes by
logistic regression with C = 10, which is as good as any of 1, 3, 10 and 30 on the validation parts of sst2, imdb-cad, ag-news-test and banking77.
"""

from typing import Any

import torch
from torch import Tensor

from genctl.contract import Batch, Spec
from genctl.media import text

WITHOUT = "needs the 'digits' extra (scikit-learn): pip install 'genctl[digits]'"


def reason_not(spec: Spec) -> str:
    """Why there is no bag of words; empty if there is one."""
    if spec.media != "text":
        return "these are no texts"
    try:
        import sklearn  # noqa: F401
    except ImportError:
        return WITHOUT
    return ""


def texts(x: Tensor, spec: Spec) -> list[str]:
    """Rows as texts, as far as the model sees them."""
    return [text.decode(row, spec) for row in x]


def weigher() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)


def classes(train: Batch, x: Tensor, spec: Spec, target: str) -> Tensor:
    """(n,) the class of each row of x by logistic regression on the training part."""
    from sklearn.linear_model import LogisticRegression

    weigh = weigher()
    known = weigh.fit_transform(texts(train.x, spec))
    model: Any = LogisticRegression(C=10, max_iter=1000).fit(known, train.given[target].numpy())
    return torch.from_numpy(model.predict(weigh.transform(texts(x, spec))))


def alike(a: Any, b: Any) -> Tensor:
    """(n, m) cosines of weighted bags."""
    return torch.from_numpy((a @ b.T).toarray())
