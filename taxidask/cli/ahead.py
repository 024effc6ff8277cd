"""Compiling before it is needed: on a machine that has never read a trip it takes as long as reading a million."""

from __future__ import annotations

import tempfile
from pathlib import Path

from taxidask.compute.threads import ThreadExecutor

TRIPS = """VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,pickup_longitude,\
pickup_latitude,RateCodeID,store_and_fwd_flag,dropoff_longitude,dropoff_latitude,payment_type,fare_amount,extra,mta_tax,\
tip_amount,tolls_amount,improvement_surcharge,total_amount
1,2015-03-02 12:00:00,2015-03-02 12:10:00,1,1.5,-73.98,40.75,1,N,-73.97,40.76,1,9,0,0.5,1.5,0,0.3,11.3
1,no time,2015-03-02 12:10:00,1,1.5,-73.98,40.75,1,N,-73.97,40.76,1,9,0,0.5,1.5,0,0.3,11.3
"""
"""One that is kept and one that is set aside."""


def compile_ahead() -> None:
    """Run on a worker: whatever reading trips with points and their fares need is compiled there, and kept on disk."""
    from taxidask.lake import Lake
    from taxidask.space import Zones

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "yellow_tripdata_2015-03.csv")
        source.write_text(TRIPS)
        Lake(f"{folder}/lake").ingest(source, client=ThreadExecutor(1))  # type: ignore[arg-type]  # not other workers
    Zones().locate([-73.98], [40.75])
