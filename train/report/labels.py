"""The overall figures as a reader knows them."""

LABELS = {
    "macro_f1": "Macro-F1",
    "balanced_accuracy": "Balanced accuracy",
    "accuracy": "Accuracy",
    "macro_auroc": "Macro-AUROC",
    "kappa": "Cohen's kappa",
    "coverage": "Decided (coverage)",
    "decided_accuracy": "Accuracy when decided",
    "ece": "ECE, equal width",
    "adaptive_ece": "ECE, equal mass",
    "brier": "Brier score (0 to 2)",
    "log_loss": "Log loss",
}
