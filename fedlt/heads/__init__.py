"""Heads on features: scikit-learn estimators of what a finished run keeps (`Run.features`), or of any features.

They are estimators and no more: `fit`, `predict`, most of them `predict_proba`; pipelines, searches and clones of
scikit-learn take them. `fedlt head` names them as `fedlt.heads.fitted.HEADS` does.
"""
