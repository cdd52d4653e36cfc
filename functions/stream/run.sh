#!/bin/sh
# What the Lambda Web Adapter starts: the application, on the port that it will ask.
export PYTHONPATH="$LAMBDA_TASK_ROOT:/opt/python${PYTHONPATH:+:$PYTHONPATH}"
exec python3 -m uvicorn app:web --http playground.direct_http:DirectProtocol \
  --host 127.0.0.1 --port "$AWS_LWA_PORT" --lifespan off --no-access-log --log-level warning
