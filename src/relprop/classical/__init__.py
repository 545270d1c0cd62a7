"""Classical models: kernel machines, anomaly detectors, bags of words, Fisher vectors.

scikit-learn is the host: estimators here follow its interface, and `relprop.explain` understands
fitted scikit-learn models and pipelines (thesis 2.4, 4.2-4.3, appendices A, C.2, D).
"""
