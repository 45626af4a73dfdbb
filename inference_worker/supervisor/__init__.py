"""The process a user starts: it watches over engines, and loads no model itself.

`supervisor` is its life, `engine_process` an engine seen from outside, `restarts` what is decided when one ends,
`leases` what is said to Redis for engines, `metrics` and `health` what is told to others.
"""

from inference_worker.supervisor.supervisor import Supervisor

__all__ = ["Supervisor"]
