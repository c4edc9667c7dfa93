"""The domain of production change: what changed, what the evidence says of it, what must stop and what may go.

Everything here is a pure function of records and of the times they carry; only `deploy.actuators` speaks to the
outside.
"""
