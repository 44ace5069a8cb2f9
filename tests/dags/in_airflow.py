"""Runs in Airflow's environment: load a folder of DAGs, and run one of them as `airflow dags test` does.

python in_airflow.py DAGS_FOLDER DAG_ID CONF_JSON     prints one JSON object as its last line
"""

import json
import sys
from datetime import timedelta
from typing import Any

from airflow.dag_processing.dagbag import DagBag
from airflow.models.asset import AssetEvent
from airflow.utils.session import create_session
from sqlalchemy import select


def events_of(run_id: str) -> list[Any]:
    """What the run told of the assets it updated."""
    with create_session() as session:
        query = select(AssetEvent).where(AssetEvent.source_run_id == run_id)
        return [event.extra for event in session.scalars(query)]


def main(folder: str, dag_id: str, conf: str) -> None:
    bag = DagBag(folder)
    found: dict[str, Any] = {"errors": bag.import_errors, "dags": sorted(bag.dags), "state": None, "tasks": {}}
    if conf:
        for task in bag.dags[dag_id].tasks:
            task.retry_delay = timedelta(seconds=1)
        run = bag.dags[dag_id].test(run_conf=json.loads(conf))
        found["state"] = str(run.state)
        found["tasks"] = {ti.task_id: [str(ti.state), ti.try_number] for ti in run.get_task_instances()}
        found["events"] = events_of(run.run_id)
        found["order"] = {t.task_id: sorted(t.upstream_task_ids) for t in bag.dags[dag_id].tasks}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
