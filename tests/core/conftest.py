"""Hypothesis without a deadline: a busy machine is no failure."""

from hypothesis import HealthCheck, settings

settings.register_profile("foldlog", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("foldlog")
