"""The engine: torch, numpy and scipy only. It knows no estimator and no table."""
