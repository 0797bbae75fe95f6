"""What is aimed at: the table of ratios, and what each of them means."""

from tests.bench.goal import Goal

REFERENCE, TIMM = "throughput_over_reference", "throughput_over_timm_style"
BASELINE, RESNET18 = "baseline", "resnet18"
NETWORKS = (BASELINE, RESNET18)
GPU = "gpu"


def by_network(key: str, network: str) -> str:
    """Key of a ratio that there is one of for each network."""
    return f"{key}.{network}"


def goals() -> tuple[Goal, ...]:
    return (
        Goal(by_network(REFERENCE, BASELINE), "images/s over the reference's style, baseline", 2.0),
        Goal(by_network(REFERENCE, RESNET18), "the same, resnet18", 1.15),
        Goal(by_network(TIMM, BASELINE), "images/s over timm's style, baseline", 2.0),
        Goal(by_network(TIMM, RESNET18), "the same, resnet18", 1.15),
        Goal("loop_overhead", "epoch over bare forward + backward + step", 1.05, True),
        Goal("cache_speedup", "images/s from the cache over decoding each time", 1.0),
        Goal("ddp_2_scaling", "images/s of 2 processes of 1 thread over 1 of them", 1.6),
        Goal("time_to_f1_over_reference", "reference's seconds to a macro-F1 over ours", 1.0),
        Goal("time_to_f1_over_timm_style", "timm style's seconds to a macro-F1 over ours", 1.0),
        Goal("resume_waste", "work lost by a kill, over the checkpoint interval", 1.0, True),
        Goal("rss_growth", "RSS after 50 epochs over after 10", 1.01, True),
        Goal("gpu.over_reference", "GPU: images/s over the reference's style, AMP", 1.5),
        Goal("gpu.over_synthetic", "GPU: images/s over the model on resident data", 0.90),
    )
