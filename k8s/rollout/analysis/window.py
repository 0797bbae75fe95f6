"""A window of time in which both sides are compared."""

from dataclasses import dataclass, field

from k8s.rollout.observation import Counts


@dataclass(frozen=True, slots=True)
class Window:
    """What both sides did since it began.

    Attributes:
        began_s: in seconds since 1970.
        primary, target: since then.
    """

    began_s: float = 0.0
    primary: Counts = field(default_factory=Counts)
    target: Counts = field(default_factory=Counts)

    def with_more(self, primary: Counts, target: Counts) -> "Window":
        return Window(self.began_s, self.primary + primary, self.target + target)

    def complete(self, at_s: float, least_s: float, requests: float) -> bool:
        """It lasted long enough, and both sides had enough requests."""
        fewest = min(self.primary.requests, self.target.requests)
        return at_s - self.began_s >= least_s and fewest >= requests
