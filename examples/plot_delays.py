# %% [markdown]
# # When to fly
# Delay by the hour of departure: the server aggregates, the client plots 24 rows.
#
#     python examples/plot_delays.py [PICTURE.png] [grpc://HOST:PORT]
#
# Without a name the picture is `delays.png`; without an address the server of
# this machine is meant. The marks `# %%` make this file a notebook in editors that know them.

# %%
import sys
from pathlib import Path

import pyarrow.flight as fl
from matplotlib.figure import Figure

picture = Path(sys.argv[1] if len(sys.argv) > 1 else "delays.png")
uri = sys.argv[2] if len(sys.argv) > 2 else "grpc://127.0.0.1:8815"

# %%
sql = """
    SELECT hour(date) AS hour, count(*) AS flights, avg(delay) AS mean,
           quantile_cont(delay, 0.25) AS low, quantile_cont(delay, 0.75) AS high
    FROM flights GROUP BY hour ORDER BY hour
"""
with fl.connect(uri) as client:
    info = client.get_flight_info(fl.FlightDescriptor.for_command(sql))
    hours = client.do_get(info.endpoints[0].ticket).read_all().to_pydict()

# %%
figure = Figure(figsize=(8, 5), layout="constrained")
delay, count = figure.subplots(2, sharex=True, height_ratios=(3, 1))
delay.fill_between(hours["hour"], hours["low"], hours["high"], alpha=0.2, label="middle half")
delay.plot(hours["hour"], hours["mean"], label="mean")
delay.set_ylabel("delay (minutes)")
delay.legend(loc="upper center")
count.bar(hours["hour"], hours["flights"])
count.set_ylabel("flights")
count.set_xlabel("hour of departure")
figure.savefig(picture, dpi=120)
print(f"{picture} shows {sum(hours['flights']):,} flights")
