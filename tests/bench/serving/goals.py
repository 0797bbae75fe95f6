"""What is aimed at: the table of ratios, and what each of them means."""

from tests.bench.cpu import instruction_sets
from tests.bench.goal import Goal


def goals() -> tuple[Goal, ...]:
    """All of them; what can be asked of INT8 depends on this CPU."""
    vnni = any("vnni" in each for each in instruction_sets())
    return (
        Goal("throughput_over_ideal", "throughput over decode and infer alone, 10-100 users", 0.92),
        Goal("throughput_over_fastapi_1024", "throughput over FastAPI, 1024² JPEG", 1.10),
        Goal("throughput_over_fastapi_224", "throughput over FastAPI, 224² JPEG", 1.00),
        Goal("throughput_over_kserve_sample", "throughput over the KServe sample, 1024²", 1.4),
        Goal("v2_binary_over_kserve", "V2 binary UINT8 over the KServe SDK's V2 binary", 4.0),
        Goal(
            "shipped_over_best_rival",
            "resnet50 as shipped over the best rival on FP32",
            3.0 if vnni else 1.7,
        ),
        Goal("auto_over_best", "--engine auto over the best engine and artefact by hand", 0.95),
        Goal("latency_over_inprocess", "one user's latency over in-process latency", 1.25, True),
        Goal("cam_cost", "cam asked for, over not", 1.05, True),
        Goal("cam_speedup_over_grad_cam", "grad-cam's time per image over ours", 3.0),
        Goal("overlay_cost", "overlay asked for, over not", 1.25, True),
        Goal("p99_over_p50", "p99 over p50 at 70 % of peak rate", 3.0, True),
        Goal("after_cancellations", "latency after impatient users, over idle latency", 3.0, True),
        Goal("body_rss_growth_mb", "growth of RSS by a 200 MB body, MB", 20.0, True),
        Goal("rss_growth", "RSS after 10,000 explained requests over after 1,000", 1.05, True),
        Goal("start_over_imports", "start to ready over importing kserve, onnxruntime", 1.8, True),
        Goal("sigterm", "requests lost at SIGTERM under load", 0, True, summed=True),
        Goal("cancellations", "requests lost beside users that give up", 0, True, summed=True),
        Goal("broken_images", "requests lost beside broken images", 0, True, summed=True),
    )


LOST = tuple(goal.key for goal in goals() if goal.summed)
