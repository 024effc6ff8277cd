"""The city behind `make_sample`: where and when New York takes taxis, as small tables."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

# TLC zone, borough, centre (degrees), spread east-west and north-south (1e-4 degrees), share of pick-ups and of
# drop-offs (per mille) in the four parts of a day, name. Rounded from a year of public trip records.
_PLACES = """
1 E -74.177 40.694 24 30  0 0 0 0  0 3 2 1  Newark Airport
4 M -73.979 40.724 22 25  5 4 2 3  8 2 3 6  Alphabet City
7 Q -73.922 40.762 70 38  3 3 1 1  12 3 2 3  Astoria
12 M -74.014 40.704 9 9  0 0 1 0  0 1 1 0  Battery Park
13 M -74.016 40.714 12 35  4 15 11 8  7 16 10 8  Battery Park City
14 B -74.029 40.624 48 70  0 0 0 0  2 1 0 1  Bay Ridge
17 B -73.950 40.689 46 56  1 0 0 0  6 1 0 1  Bedford
24 M -73.966 40.802 31 16  2 5 3 3  4 2 2 4  Bloomingdale
25 B -73.987 40.687 43 26  2 1 1 1  4 1 1 2  Boerum Hill
33 B -73.993 40.694 23 33  1 2 1 1  5 2 2 3  Brooklyn Heights
36 B -73.922 40.703 70 41  1 0 0 0  4 0 0 1  Bushwick North
37 B -73.932 40.699 70 70  2 0 0 0  6 1 1 1  Bushwick South
40 B -73.998 40.680 30 25  1 2 0 0  2 0 0 1  Carroll Gardens
41 M -73.953 40.804 39 31  3 4 2 3  9 4 5 7  Central Harlem
42 M -73.942 40.815 37 53  2 2 1 1  7 3 2 4  Central Harlem North
43 M -73.971 40.776 70 70  6 11 16 15  6 11 18 11  Central Park
45 M -73.999 40.714 29 20  3 2 2 3  3 2 3 3  Chinatown
48 M -73.990 40.761 31 40  39 36 24 27  33 18 25 31  Clinton East
49 B -73.964 40.688 42 47  1 0 0 0  6 1 1 2  Clinton Hill
50 M -73.995 40.764 30 31  12 12 11 10  13 13 11 10  Clinton West
52 B -73.996 40.687 16 25  1 2 0 0  1 0 0 1  Cobble Hill
61 B -73.950 40.675 70 34  1 0 0 0  6 1 1 1  Crown Heights North
62 B -73.952 40.667 70 21  0 0 0 0  2 0 0 0  Crown Heights South
65 B -73.985 40.694 27 23  2 2 1 1  3 2 2 2  Downtown Brooklyn/MetroTech
66 B -73.989 40.703 33 11  0 1 0 1  2 1 1 1  DUMBO/Vinegar Hill
68 M -74.001 40.747 43 48  31 24 22 24  25 19 22 24  East Chelsea
74 M -73.939 40.800 34 46  3 5 3 2  8 8 6 7  East Harlem North
75 M -73.949 40.789 43 30  4 9 7 6  12 14 9 10  East Harlem South
79 M -73.987 40.728 31 30  63 24 22 27  42 11 18 34  East Village
80 B -73.945 40.714 42 46  3 0 0 0  7 1 1 2  East Williamsburg
82 Q -73.879 40.743 70 57  1 1 0 0  2 1 0 0  Elmhurst
87 M -74.007 40.706 19 16  7 8 9 9  11 12 6 6  Financial District North
88 M -74.012 40.703 13 12  4 2 4 5  3 8 5 3  Financial District South
89 B -73.962 40.643 54 70  0 0 0 0  2 0 0 1  Flatbush/Ditmas Park
90 M -73.996 40.742 27 23  20 20 20 22  17 13 16 16  Flatiron
95 Q -73.849 40.724 66 64  0 0 0 0  2 1 1 1  Forest Hills
97 B -73.975 40.690 38 35  2 1 0 1  3 1 1 2  Fort Greene
100 M -73.990 40.754 20 20  17 23 19 16  9 21 19 14  Garment District
106 B -73.987 40.675 40 38  0 0 0 0  1 0 0 0  Gowanus
107 M -73.984 40.737 28 28  29 28 25 27  24 18 19 24  Gramercy
112 B -73.952 40.727 51 42  2 1 0 0  8 1 1 3  Greenpoint
113 M -73.994 40.733 27 22  18 18 19 19  13 12 17 17  Greenwich Village North
114 M -73.998 40.728 32 21  25 7 11 13  15 8 11 15  Greenwich Village South
116 M -73.949 40.826 35 27  1 2 1 1  5 1 1 2  Hamilton Heights
125 M -74.006 40.726 18 15  6 5 7 7  4 7 7 5  Hudson Sq
127 M -73.923 40.867 34 28  0 0 0 0  1 0 0 1  Inwood
129 Q -73.885 40.754 65 59  1 1 0 0  4 1 1 1  Jackson Heights
132 Q -73.783 40.645 59 27  20 21 19 23  2 14 11 7  JFK Airport
137 M -73.977 40.742 23 23  11 16 13 13  16 15 11 13  Kips Bay
138 Q -73.871 40.773 54 23  20 16 29 27  2 24 18 7  LaGuardia Airport
140 M -73.955 40.766 28 32  8 24 20 18  14 24 17 17  Lenox Hill East
141 M -73.960 40.767 32 37  17 32 25 25  23 15 23 27  Lenox Hill West
142 M -73.982 40.773 22 32  26 25 31 31  16 20 27 32  Lincoln Square East
143 M -73.987 40.777 29 28  6 13 13 11  11 8 11 13  Lincoln Square West
144 M -73.997 40.722 19 22  17 6 9 14  11 6 12 10  Little Italy/NoLiTa
145 Q -73.952 40.746 61 29  2 1 1 1  6 3 2 3  Long Island City/Hunters Point
146 Q -73.937 40.753 42 23  1 1 1 1  2 1 1 1  Long Island City/Queens Plaza
148 M -73.989 40.720 26 22  35 8 7 10  18 3 8 14  Lower East Side
151 M -73.968 40.798 30 23  5 11 9 9  8 3 6 10  Manhattan Valley
152 M -73.955 40.819 27 27  1 1 1 1  3 1 1 1  Manhattanville
158 M -74.007 40.739 12 36  20 12 10 12  14 7 13 15  Meatpacking/West Village West
161 M -73.978 40.758 27 27  30 25 43 39  16 79 46 28  Midtown Center
162 M -73.973 40.756 27 33  29 31 35 39  19 59 34 24  Midtown East
163 M -73.978 40.764 38 14  26 18 31 31  14 32 32 21  Midtown North
164 M -73.985 40.748 21 27  29 20 25 24  19 23 24 21  Midtown South
166 M -73.962 40.807 31 35  4 5 5 5  7 7 8 7  Morningside Heights
168 X -73.922 40.810 65 35  0 0 0 0  2 1 0 0  Mott Haven/Port Morris
170 M -73.979 40.748 27 28  30 37 36 32  30 36 36 30  Murray Hill
179 Q -73.925 40.770 41 26  1 1 1 0  3 1 1 1  Old Astoria
181 B -73.980 40.673 54 62  3 1 1 1  8 1 2 3  Park Slope
186 M -73.992 40.750 17 15  27 42 35 30  23 32 32 28  Penn Station/Madison Sq West
188 B -73.956 40.659 64 34  0 0 0 0  2 0 0 0  Prospect-Lefferts Gardens
189 B -73.968 40.678 42 26  1 0 0 0  3 0 0 1  Prospect Heights
193 Q -73.941 40.758 34 41  0 1 0 0  1 1 0 0  Queensbridge/Ravenswood
198 Q -73.905 40.705 66 47  0 0 0 0  2 0 0 1  Ridgewood
209 M -74.004 40.709 20 15  2 2 2 2  2 3 2 2  Seaport
211 M -74.001 40.724 21 18  10 5 10 10  7 7 13 11  SoHo
223 Q -73.912 40.774 70 37  1 2 0 0  5 2 1 2  Steinway
224 M -73.978 40.733 23 19  2 5 4 3  7 2 3 6  Stuy Town/Peter Cooper Village
225 B -73.936 40.690 66 50  0 0 0 0  4 1 0 1  Stuyvesant Heights
226 Q -73.922 40.744 62 35  2 5 2 1  5 2 1 2  Sunnyside
228 B -74.002 40.657 70 70  0 0 0 0  2 0 0 0  Sunset Park West
229 M -73.966 40.757 25 19  18 25 19 20  18 13 15 19  Sutton Place/Turtle Bay North
230 M -73.984 40.760 25 22  41 25 29 32  22 44 34 31  Times Sq/Theatre District
231 M -74.008 40.717 29 30  21 18 19 20  15 24 17 17  TriBeCa/Civic Center
232 M -73.985 40.716 40 29  4 2 2 2  6 3 3 6  Two Bridges/Seward Park
233 M -73.972 40.751 19 27  11 15 14 16  15 17 14 13  UN/Turtle Bay South
234 M -73.990 40.741 27 27  35 23 33 38  19 36 36 29  Union Sq
236 M -73.957 40.780 30 35  14 45 45 36  20 34 44 37  Upper East Side North
237 M -73.966 40.768 33 37  18 41 47 44  14 36 47 33  Upper East Side South
238 M -73.972 40.791 33 26  11 22 20 20  17 14 18 23  Upper West Side North
239 M -73.978 40.783 33 25  17 24 29 27  18 15 26 27  Upper West Side South
243 M -73.934 40.855 39 47  0 0 0 0  4 1 1 1  Washington Heights North
244 M -73.941 40.841 31 53  1 1 1 1  6 4 2 3  Washington Heights South
246 M -74.003 40.752 31 52  15 13 16 16  13 27 21 19  West Chelsea/Hudson Yards
249 M -74.003 40.734 23 30  35 18 16 19  21 9 14 23  West Village
255 B -73.958 40.718 35 26  6 1 0 1  8 1 2 4  Williamsburg (North Side)
256 B -73.960 40.711 54 19  4 1 1 1  8 1 1 3  Williamsburg (South Side)
260 Q -73.904 40.746 43 53  1 1 0 0  3 1 1 1  Woodside
261 M -74.013 40.709 20 21  3 4 7 6  5 4 6 4  World Trade Center
262 M -73.948 40.775 21 27  5 19 15 11  13 6 11 17  Yorkville East
263 M -73.952 40.778 26 31  14 22 18 18  22 10 15 22  Yorkville West
"""

# Trips by weekday (Monday first) and hour, in units of 1/16,800 of a week.
_WEEK = """
53 31 18 13 13 27 64 100 120 114 105 103 106 106 115 106 98 122 146 142 133 123 108 75
55 31 20 13 11 24 64 108 129 127 115 115 116 110 115 115 98 117 160 152 153 146 136 103
70 37 24 16 16 24 68 120 131 123 110 115 113 108 121 115 100 115 151 160 152 152 146 117
75 50 33 20 19 26 63 117 137 117 111 118 122 121 123 116 101 124 150 161 163 156 157 127
100 65 44 34 24 27 66 105 127 122 110 113 111 116 122 111 104 120 155 162 149 147 160 153
132 117 102 73 47 23 30 41 64 82 107 122 133 129 129 129 119 137 149 156 133 134 155 150
142 130 104 82 53 24 26 32 45 73 100 111 120 124 119 122 113 120 126 122 106 100 99 77
"""

# Median speed by hour in miles an hour, Monday to Friday and at the weekend.
_SPEED = """
14.6 15.6 16.1 17.1 18.3 18.0 14.7 11.2 8.9 8.1 8.1 7.9 8.0 8.3 8.3 8.4 8.9 9.1 9.0 9.8 11.0 11.7 12.1 12.7
11.8 13.1 14.2 14.7 16.1 17.6 18.4 16.7 14.3 13.2 12.2 11.4 10.7 10.4 10.1 10.2 10.4 10.2 10.1 10.4 11.1 11.5 12.1 12.0
"""
# A longer trip is a faster one: factor on the median speed by miles.
_FASTER = (
    (0.0, 0.80),
    (0.5, 0.85),
    (1.0, 0.92),
    (1.6, 1.0),
    (2.5, 1.1),
    (4.0, 1.3),
    (6.5, 1.65),
    (10.0, 2.1),
    (16.0, 2.4),
)

JFK, LAGUARDIA, NEWARK = 132, 138, 1
ELSEWHERE, MANHATTAN, CONGESTION = 0, 1, 2  # CONGESTION: Manhattan south of 96th Street
MILES_EAST, MILES_NORTH = 52.4, 69.0  # a degree of longitude and of latitude in New York
COS_GRID, SIN_GRID = 0.8746197, 0.4848096  # Manhattan's avenues run 29 degrees east of north
PARTS = np.array(
    [0] * 5 + [1] * 5 + [2] * 6 + [3] * 5 + [0] * 3, dtype=np.int64
)  # hour -> night, morning, midday, evening


@dataclass(frozen=True)
class City:
    """Lookup tables of the generator; every float in them is rounded, so that all machines hold the same bits."""

    zone: NDArray[np.int64]
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    east: NDArray[np.float64]
    north: NDArray[np.float64]
    area: NDArray[np.int64]
    pickup: NDArray[np.uint32]  # (parts, places) cumulative share * 2**32
    dropoff: NDArray[np.uint32]  # (parts, places, places) likewise, given the pick-up
    week: NDArray[np.float64]  # (7 * 24)
    speed: NDArray[np.float64]  # (2, 24)
    faster: NDArray[np.float64]  # by quarter mile
    normal: NDArray[np.float64]  # 4,096 quantiles
    spread: NDArray[np.float64]  # exp(0.33 * normal)


@lru_cache(maxsize=1)
def city() -> City:
    rows = [line.split(None, 14)[:14] for line in _PLACES.strip().splitlines()]
    numbers = np.array([[float(value) for value in (row[0], *row[2:14])] for row in rows])
    zone = numbers[:, 0].astype(np.int64)
    lon, lat = numbers[:, 1], numbers[:, 2]
    manhattan = np.array([row[1] == "M" for row in rows])
    area = np.where(manhattan, np.where(lat < 40.79, CONGESTION, MANHATTAN), ELSEWHERE).astype(np.int64)
    pickups, dropoffs = numbers[:, 5:9].T + 0.15, numbers[:, 9:13].T + 0.15
    pickups[:, zone == NEWARK] = 0.01  # yellow cabs may bring people to Newark, not fetch them
    dx = (lon[:, None] - lon[None, :]) * MILES_EAST
    dy = (lat[:, None] - lat[None, :]) * MILES_NORTH
    square = dx * dx + dy * dy
    near = 1.0 / (0.25 + square / 2.6) + 0.02
    airport = np.isin(zone, (JFK, LAGUARDIA, NEWARK))
    near[airport] = 0.5  # distance decides little about a trip that begins or ends at an airport
    near[:, airport] = 0.5
    near[np.ix_(airport, airport)] = 0.05
    near[np.arange(len(zone)), np.arange(len(zone))] *= 0.5  # few ride within one zone
    # Dividing by the mean nearness over all pick-ups brings the drop-offs' shares back to the table's.
    share = pickups / pickups.sum(axis=1, keepdims=True)
    reach = share @ near
    onward = near[None, :, :] * (dropoffs / reach)[:, None, :]
    quantiles = NormalDist()
    normal = np.array([round(quantiles.inv_cdf((k + 0.5) / 4096), 9) for k in range(4096)])
    miles, factor = zip(*_FASTER, strict=True)
    return City(
        zone=zone,
        lon=lon,
        lat=lat,
        east=numbers[:, 3] * 1e-4,
        north=numbers[:, 4] * 1e-4,
        area=area,
        pickup=_cumulative(pickups),
        dropoff=_cumulative(onward),
        week=np.array(_WEEK.split(), dtype=np.float64),
        speed=np.array(_SPEED.split(), dtype=np.float64).reshape(2, 24),
        faster=np.round(np.interp(np.arange(160) / 4, miles, factor), 6),
        normal=normal,
        spread=np.round(np.exp(0.33 * normal), 6).astype(np.float64),
    )


def _cumulative(weights: NDArray[np.float64]) -> NDArray[np.uint32]:
    # Rounded far above the last bits, in which sums may differ from one machine to the next.
    share = np.round(np.cumsum(weights, axis=-1) / weights.sum(axis=-1, keepdims=True), 7)
    return np.minimum(share * 4294967296.0, 4294967295.0).astype(np.uint32)
